"""What a client may ask of POST /v1/audio/speech (openai 3.52 `SpeechCreateParams`, and extras)."""

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
"""Room for a voice sample of 10 MiB in base64."""
LARGE_BODY_BYTES = 1024 * 1024
"""More than any text takes: a body with a voice sample, whose length must be announced."""
REF_AUDIO = "ref_audio"
"""The field with a voice sample, named as in vLLM-Omni; its voice has that name in `speakers`."""
MAX_SPEAKERS = 4
MAX_NAME = 200
"""Characters of the name of a model, a voice or a speaker."""

_EXPECTED = "the fields model, input and voice"
_SPOKEN = ("input", "instructions")
"""Texts that may be any word."""
_NUMBERS = ("speed", "cfg_scale", "steps", "seed")
_NAMES = ("response_format", "stream_format")
"""Fields that hold names of ours, which are taken in any case."""
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

Name = Annotated[str, Field(max_length=MAX_NAME)]


class VoiceId(BaseModel):
    """OpenAI's other form of a voice."""

    id: Name


class SpeechOptions(BaseModel):
    """The JSON body. Keys that are not here are ignored; null means the default, and so does what
    clients write in its place."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    input: str
    """The text. A line that begins with `Speaker N:`, or with a name of `speakers`, is that
    speaker's, where the model has several voices."""
    model: Name = ""
    """A name of GET /v1/audio/models; another means the first of them."""
    voice: Name | VoiceId = ""
    """A name of GET /v1/audio/voices, a unique part of one, or one of OpenAI's; empty means the
    model's default."""
    instructions: Annotated[str, Field(max_length=4096)] = ""
    """Accepted for compatibility: the models take no instructions."""
    response_format: Literal[RESPONSE_FORMATS] = "mp3"  # type: ignore[valid-type]
    """pcm is 16-bit little-endian mono at 24 kHz."""
    speed: Annotated[float, Field(ge=SLOWEST, le=FASTEST)] = 1.0
    """Changes the length and keeps the pitch."""
    stream_format: Literal["audio", "sse"] = "audio"
    """The bytes of the audio, or server-sent events with them in base64."""
    cfg_scale: Annotated[float, Field(ge=1.0, le=10.0)] | None = None
    """Weight of the text in the diffusion; the model's own where absent."""
    steps: Annotated[int, Field(ge=1, le=100)] | None = None
    """Denoising steps for each frame; the model's own where absent."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """The same seed and request make the same audio."""
    speakers: Annotated[dict[Name, Name], Field(max_length=MAX_SPEAKERS)] | None = None
    """Names of speakers in the text → voices; `ref_audio` means the voice of that field."""
    ref_audio: str = ""
    """A recording of 6 to 30 s, in base64 or as a data URL, whose voice is cloned and taken in
    place of `voice`, with a model that can."""

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
        """The voice in any form."""
        if self.ref_audio:
            return REF_AUDIO
        return self.voice if isinstance(self.voice, str) else self.voice.id

    @classmethod
    async def from_request(cls, request: Request, max_chars: int, timeout: float) -> Self:
        """The options in the body of `request`; `timeout`: seconds that the client may pause.

        Raises UploadTooLarge, RequestTimeout, RequestValidationError for a wrong or missing field,
        UnsupportedMediaType for a form, InvalidRequest for what is no JSON object and for a text of
        more than `max_chars` characters or none.
        """
        most = MAX_BODY_BYTES if is_large(request) else LARGE_BODY_BYTES
        body = await receive_body(request, most, timeout=timeout)
        content_type = request.headers.get("content-type", "")
        media_type = media_type_of(content_type)
        if media_type in _FORMS and not looks_like_json(body):
            raise UnsupportedMediaType(
                f"Expected an application/json body with {_EXPECTED}, got {media_type}."
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
    """Whether the body is larger than LARGE_BODY_BYTES, as its length says."""
    announced = request.headers.get("content-length", "")
    return announced.isdecimal() and int(announced) > LARGE_BODY_BYTES


def body_schema() -> dict[str, Any]:
    """The request body for the API's description."""
    schema = SpeechOptions.model_json_schema(ref_template="#/components/schemas/{model}")
    voice_id = schema.pop("$defs")["VoiceId"]
    schema["properties"]["voice"]["anyOf"][1] = voice_id
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def _located(error: ValidationError) -> list[Any]:
    """The errors at the field of the body, without what was found there."""
    return [
        {"type": item["type"], "loc": ("body", *item["loc"][:1]), "msg": item["msg"]}
        for item in error.errors(include_url=False, include_input=False)
    ]
