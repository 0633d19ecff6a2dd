"""What a client asks for: the text fields of a transcription form, checked."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import FormData

from vibevoice_proxy.errors import InvalidRequest, ModelNotFound
from vibevoice_proxy.formats import RESPONSE_FORMATS
from vibevoice_proxy.prompt import extra_info
from vibevoice_proxy.settings import Settings

STREAMED_FORMATS = ("json", "text", "diarized_json")
_LISTS = ("languages", "keywords", "include", "timestamp_granularities", "known_speaker_names")
Language = Annotated[str, Field(max_length=64)]


def form_schema() -> dict[str, Any]:
    """The form as OpenAPI describes a request body."""
    schema = TranscriptionOptions.model_json_schema()
    schema["properties"] = {
        "file": {"type": "string", "format": "binary", "description": "Any audio or video file."},
        **{
            f"{name}[]" if name in _LISTS else name: field
            for name, field in schema["properties"].items()
        },
    }
    schema["required"] = ["file"]
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


class TranscriptionOptions(BaseModel):
    """The form of OpenAI's transcription API (openai 3.52) and vLLM's `hotwords`.

    Fields that have no meaning for VibeVoice (a language switch, word times, log probabilities,
    named speakers, chunking) are taken and change nothing, so that clients that send them work.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str = ""
    language: Language = ""
    languages: list[Language] = []
    prompt: str = ""
    hotwords: str = ""
    keywords: list[str] = []
    response_format: Literal[RESPONSE_FORMATS] = "json"  # type: ignore[valid-type]
    temperature: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    """Checked only: decoding is pinned to temperature 0."""
    timestamp_granularities: list[Literal["segment", "word"]] = []
    include: list[Literal["logprobs"]] = []
    known_speaker_names: list[str] = Field([], max_length=4)
    stream: bool = False

    @classmethod
    def from_form(cls, form: FormData, settings: Settings) -> Self:
        """Raises InvalidRequest naming the first field that is wrong, and what was expected."""
        values: dict[str, Any] = {}
        for key, value in form.multi_items():
            name = key.removesuffix("[]")
            if not isinstance(value, str) or not value.strip():
                continue  # an empty field means "not given"
            if name in _LISTS:
                values.setdefault(name, []).append(value)
            else:
                values[name] = value
        try:
            options = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            param = str(first["loc"][0])
            raise InvalidRequest(
                f"Invalid value for {param}: {first['msg']}.", param=param
            ) from error
        options._check_model(settings)
        options._check_prompt(settings.max_prompt_chars)
        if options.stream and options.response_format not in STREAMED_FORMATS:
            raise InvalidRequest(
                f"response_format {options.response_format} cannot be streamed; expected "
                f"{', '.join(STREAMED_FORMATS)}.",
                param="stream",
            )
        return options

    @property
    def info(self) -> str:
        """What the model is told beside the audio."""
        return extra_info(self._info_texts())

    @property
    def spoken_language(self) -> str | None:
        """The language that the client named."""
        return self.language or next(iter(self.languages), None)

    def _info_texts(self) -> list[str]:
        return [text for text in (self.prompt, self.hotwords, *self.keywords) if text]

    def _check_model(self, settings: Settings) -> None:
        known = {settings.served_model_name, *settings.model_aliases, ""}
        if settings.strict_model_names and self.model not in known:
            raise ModelNotFound(
                f"The model {self.model!r} does not exist; expected {settings.served_model_name}.",
                param="model",
            )

    def _check_prompt(self, max_chars: int) -> None:
        length = sum(map(len, self._info_texts()))
        if length > max_chars:
            raise InvalidRequest(
                f"prompt, hotwords and keywords have {length} characters together; expected at "
                f"most {max_chars}.",
                param="prompt",
            )
