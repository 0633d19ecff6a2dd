"""The options of a request: the text fields of a transcription form, validated."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData

from vibevoice_core.prompt import clean_words
from vibevoice_core.subtitles import Limits
from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.formats import RESPONSE_FORMATS
from vibevoice_proxy.values import (
    field_name,
    is_given,
    is_language_given,
    is_number_given,
    items_of,
    plain,
)

TRANSLATION_FORMATS = tuple(name for name in RESPONSE_FORMATS if name != "diarized_json")
STREAMED_FORMATS = ("json", "text", "diarized_json")
_LISTS = (
    "languages",
    "keywords",
    "hotwords",
    "include",
    "timestamp_granularities",
    "known_speaker_names",
    "known_speaker_references",
)
_NAMES = ("timestamp_granularities", "include", "response_format")
"""Fields whose values are case-insensitive."""
_SEPARATED = ("languages", "timestamp_granularities", "include")
"""Lists that may also be sent as one comma-separated value."""
_WORDS = (
    *("prompt", "hotwords", "keywords"),
    *("known_speaker_names", "known_speaker_references"),
)
"""Fields whose text is not changed."""
_IS_GIVEN: dict[str, Callable[[str], bool]] = {
    "language": is_language_given,
    "languages": is_language_given,
    # Empty ones are reported where names and references are combined.
    "known_speaker_names": lambda _: True,
    "known_speaker_references": lambda _: True,
    **dict.fromkeys(
        ("temperature", "max_line_width", "max_line_count", "max_cue_seconds"), is_number_given
    ),
}
_WRITTEN_PLAIN = "hotwords"
"""vLLM's field, which it names without brackets."""
Language = Annotated[str, Field(max_length=64)]


def body_schema(options: type["RecordingOptions"]) -> dict[str, Any]:
    """Request bodies that contain a recording with `options`, as OpenAPI describes them."""
    schema = options.model_json_schema()
    fields = schema.pop("properties")
    form = {
        **schema,
        "properties": {
            "file": {
                "type": "string",
                "format": "binary",
                "description": "Any audio or video file.",
            },
            **{
                f"{name}[]" if name in _LISTS and name != _WRITTEN_PLAIN else name: field
                for name, field in fields.items()
            },
        },
        "required": ["file"],
    }
    audio = {
        "type": "object",
        "properties": {
            "data": {"type": "string", "format": "byte", "description": "Base64 of the file."},
            "format": {
                "type": "string",
                "description": "Ignored: the format is detected from the content.",
            },
        },
        "required": ["data"],
    }
    body = {**schema, "properties": {"input_audio": audio, **fields}, "required": ["input_audio"]}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": body},
            },
        }
    }


def _texts(name: str, value: str) -> Iterator[str]:
    """The texts of a field: one, or any number for a list. Empty values and the placeholders that
    clients send for them give none."""
    is_here = _IS_GIVEN.get(name, is_given)
    for item in items_of(value, separated=name in _SEPARATED) if name in _LISTS else [value]:
        text = item if name in _WORDS else plain(item)
        if is_here(text):
            yield text.lower() if name in _NAMES else text


class RecordingOptions(BaseModel):
    """Options of every request with a recording."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str = ""
    language: Language = ""
    languages: list[Language] = []
    prompt: str = ""
    hotwords: list[str] = []
    keywords: list[str] = []
    response_format: str = "json"
    temperature: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    """Validated only: decoding always uses temperature 0."""
    max_line_width: int | None = Field(None, ge=0, le=1000)
    max_line_count: int | None = Field(None, ge=0, le=100)
    max_cue_seconds: float | None = Field(None, ge=0, le=3600, allow_inf_nan=False)

    @classmethod
    def from_form(cls, form: FormData, settings: Settings) -> Self:
        """Raises InvalidRequest that names the first invalid field and what was expected."""
        values: dict[str, Any] = {}
        for key, value in form.multi_items():
            name = field_name(key)
            if name.startswith("known_speaker_") and not isinstance(value, str):
                raise InvalidRequest(
                    f"{name} is a file; expected text (a name or a data URL).", param=name
                )
            for text in _texts(name, value) if isinstance(value, str) else ():
                if name in _LISTS:
                    values.setdefault(name, []).append(text)
                else:
                    values[name] = text
        try:
            options = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            param = str(first["loc"][0])
            raise InvalidRequest(
                f"Invalid value for {param}: {first['msg']}.", param=param
            ) from error
        options._check_prompt(settings.max_prompt_chars)
        return options

    @property
    def with_logprobs(self) -> bool:
        """Whether the client requested token log probabilities."""
        return False

    @property
    def known(self) -> tuple[list[str], list[str]]:
        """Names of known speakers, and the references to their voices."""
        return [], []

    @property
    def tells_speakers(self) -> bool:
        """Whether the response includes speakers."""
        return self.response_format not in ("json", "text")

    @property
    def is_streamed(self) -> bool:
        """Whether segments are sent as they are recognized."""
        return False

    @property
    def info(self) -> str:
        """Extra text for the model, in addition to the audio."""
        return clean_words(", ".join(self._info_texts()))

    @property
    def possible_languages(self) -> Sequence[str]:
        """The languages that the client expects; empty for any."""
        return [self.language] if self.language else self.languages

    def subtitle_limits(self, settings: Settings) -> Limits:
        """Limits for subtitles: those of the request, otherwise those of the settings."""
        width, count, seconds = self.max_line_width, self.max_line_count, self.max_cue_seconds
        return Limits(
            settings.max_line_width if width is None else width,
            settings.max_line_count if count is None else count,
            settings.max_cue_seconds if seconds is None else seconds,
        )

    def _info_texts(self) -> list[str]:
        return [text for text in (self.prompt, *self.hotwords, *self.keywords) if text]

    def _check_prompt(self, max_chars: int) -> None:
        length = sum(map(len, self._info_texts()))
        if length > max_chars:
            raise InvalidRequest(
                f"prompt, hotwords and keywords have {length} characters in total; expected at "
                f"most {max_chars}.",
                param="prompt",
            )


class TranscriptionOptions(RecordingOptions):
    """The form of OpenAI's transcription API (openai 3.52), plus vLLM's `hotwords`.

    Fields without a meaning here are accepted but ignored, so clients that send them work: word
    timestamps and chunking, and for VibeVoice also the language and log probabilities.
    """

    response_format: Literal[RESPONSE_FORMATS] = "json"  # type: ignore[valid-type]
    timestamp_granularities: list[Literal["segment", "word"]] = []
    include: list[Literal["logprobs"]] = []
    known_speaker_names: list[str] = []
    """Names of known speakers; names without references select enrolled speakers."""
    known_speaker_references: list[str] = []
    """Their voices, in the same order: data URLs of recordings of 2 to 10 s."""
    stream: bool = False

    @property
    def with_logprobs(self) -> bool:
        return "logprobs" in self.include

    @property
    def known(self) -> tuple[list[str], list[str]]:
        return self.known_speaker_names, self.known_speaker_references

    @property
    def is_streamed(self) -> bool:
        return self.stream

    @classmethod
    def from_form(cls, form: FormData, settings: Settings) -> Self:
        options = super().from_form(form, settings)
        if options.stream and options.response_format not in STREAMED_FORMATS:
            raise InvalidRequest(
                f"response_format {options.response_format} cannot be streamed; expected "
                f"{', '.join(STREAMED_FORMATS)}.",
                param="stream",
            )
        return options


class TranslationOptions(RecordingOptions):
    """The form of OpenAI's translation API (openai 3.52), which has neither streaming nor
    speakers."""

    response_format: Literal[TRANSLATION_FORMATS] = "json"  # type: ignore[valid-type]
