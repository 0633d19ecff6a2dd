"""Options of POST /v1/audio/speech (openai 3.52 `SpeechCreateParams`, and extras)."""

from typing import Annotated, Any, Literal, Self

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request

from vibevoice_proxy.errors import InvalidRequest, UnsupportedMediaType
from vibevoice_proxy.json_text import looks_like_json, parse_body
from vibevoice_proxy.speech.formats import FASTEST, RESPONSE_FORMATS, SLOWEST
from vibevoice_proxy.upload import media_type_of, receive_body
from vibevoice_proxy.values import is_given, is_number_given, plain

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Enough for a voice sample of 10 MiB in base64."""
LARGE_BODY_BYTES = 1024 * 1024
"""More than any text needs. A larger body has a voice sample and must declare its length."""
REF_AUDIO = "ref_audio"
"""The field with a voice sample, named as in vLLM-Omni; `speakers` refers to its voice by this
name."""
MAX_SPEAKERS = 4
MAX_NAME = 200
"""Maximum characters in the name of a model, voice or speaker."""

_EXPECTED = "the fields model, input and voice"
_SPOKEN = ("input", "instructions")
"""Fields with free text, which may be any word."""
_NUMBERS = ("speed", "cfg_scale", "steps", "seed")
_NAMES = ("response_format", "stream_format")
"""Fields whose values are matched case-insensitively."""
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

Name = Annotated[str, Field(max_length=MAX_NAME)]


class VoiceId(BaseModel):
    """OpenAI's alternative form of a voice, an object with an id."""

    id: Name


class SpeechOptions(BaseModel):
    """The JSON body. Unknown keys are ignored; null, and what clients write in its place, means the
    default."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    input: str
    """The text. If the model supports several voices, a line that begins with `Speaker N:`, or with
    a name in `speakers`, belongs to that speaker."""
    model: Name = ""
    """A name from GET /v1/audio/models; any other name means the first of them."""
    voice: Name | VoiceId = ""
    """A name from GET /v1/audio/voices, a unique part of one, or an OpenAI voice; empty means the
    model's default."""
    instructions: Annotated[str, Field(max_length=4096)] = ""
    """Accepted for compatibility but ignored: the models do not support instructions."""
    response_format: Literal[RESPONSE_FORMATS] = "mp3"  # type: ignore[valid-type]
    """pcm is 16-bit little-endian mono at 24 kHz."""
    speed: Annotated[float, Field(ge=SLOWEST, le=FASTEST)] = 1.0
    """Changes the length and keeps the pitch."""
    stream_format: Literal["audio", "sse"] = "audio"
    """The raw audio, or server-sent events with the audio in base64."""
    cfg_scale: Annotated[float, Field(ge=1.0, le=10.0)] | None = None
    """Guidance scale: weight of the text in the diffusion. Defaults to the model's own value."""
    steps: Annotated[int, Field(ge=1, le=100)] | None = None
    """Denoising steps per frame. Defaults to the model's own value."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """The same seed and request produce the same audio."""
    speakers: Annotated[dict[Name, Name], Field(max_length=MAX_SPEAKERS)] | None = None
    """Speaker names in the text → voices; `ref_audio` means the voice of that field."""
    ref_audio: str = ""
    """A recording of 6 to 30 s, in base64 or as a data URL. Its voice is cloned and used instead of
    `voice`, if the model supports that."""

    @model_validator(mode="before")
    @classmethod
    def _drop_what_is_not_given(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = {key: item for key, item in value.items() if _is_given(key, item)}
        for name in (*_NAMES, "model", "voice"):
            if isinstance(text := given.get(name), str):
                given[name] = plain(text).lower() if name in _NAMES else text.strip()
        return given

    @property
    def voice_name(self) -> str:
        """The name of the voice, in either form."""
        if self.ref_audio:
            return REF_AUDIO
        return self.voice if isinstance(self.voice, str) else self.voice.id

    @classmethod
    async def from_request(cls, request: Request, max_chars: int, timeout: float) -> Self:
        """Parse the body of `request`; `timeout`: maximum seconds between chunks.

        Raises UploadTooLarge; RequestTimeout; RequestValidationError for an invalid or missing
        field; UnsupportedMediaType for a form; InvalidRequest if the body is not a JSON object, or
        if the text is empty or has more than `max_chars` characters.
        """
        most = MAX_BODY_BYTES if is_large(request) else LARGE_BODY_BYTES
        body = await receive_body(request, most, timeout=timeout)
        content_type = request.headers.get("content-type", "")
        media_type = media_type_of(content_type)
        if media_type in _FORMS and not looks_like_json(body):
            raise UnsupportedMediaType(
                f"Expected an application/json body with {_EXPECTED}; got {media_type}."
            )
        try:
            options = cls.model_validate(parse_body(body, content_type, _EXPECTED))
        except ValidationError as error:
            raise RequestValidationError(_located(error)) from error
        if not options.input.strip():
            raise InvalidRequest("The input is empty.", param="input")
        if len(options.input) > max_chars:
            raise InvalidRequest(
                f"The input has {len(options.input)} characters; expected at most {max_chars}.",
                param="input",
                code="string_above_max_length",
            )
        return options


def _is_given(key: str, item: Any) -> bool:
    if not isinstance(item, str) or key in _SPOKEN:
        return item is not None
    return is_number_given(item) if key in _NUMBERS else is_given(item)


def is_large(request: Request) -> bool:
    """Whether the body is larger than LARGE_BODY_BYTES, according to its Content-Length."""
    announced = request.headers.get("content-length", "")
    return announced.isdecimal() and int(announced) > LARGE_BODY_BYTES


def body_schema() -> dict[str, Any]:
    """The request body's schema for the OpenAPI description."""
    schema = SpeechOptions.model_json_schema(ref_template="#/components/schemas/{model}")
    voice_id = schema.pop("$defs")["VoiceId"]
    schema["properties"]["voice"]["anyOf"][1] = voice_id
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def _located(error: ValidationError) -> list[Any]:
    """The errors with the body's fields as locations, without the input values."""
    return [
        {"type": item["type"], "loc": ("body", *item["loc"][:1]), "msg": item["msg"]}
        for item in error.errors(include_url=False, include_input=False)
    ]
