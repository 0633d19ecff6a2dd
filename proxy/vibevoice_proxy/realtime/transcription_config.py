"""The configuration of a transcription session (openai 3.57,
`RealtimeTranscriptionSessionCreateRequest`)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vibevoice_core.prompt import clean_words
from vibevoice_light import Detection
from vibevoice_proxy.live import LiveOptions
from vibevoice_proxy.realtime.client_events import invalid_field
from vibevoice_proxy.values import is_language_given

EAGERNESS_SECONDS = {"high": 0.5, "auto": 1.0, "medium": 1.0, "low": 2.0}
"""Seconds of silence that end a turn; they replace OpenAI's semantic model."""
DELAY_SECONDS = {"minimal": 0.3, "low": 0.5, "medium": 1.0, "high": 2.0, "xhigh": 4.0}
"""Seconds of new speech after which the open turn is decoded again."""
MAX_SILENCE_MS = 30_000
MAX_PREFIX_MS = 10_000
MAX_WORDS = 1000


Language = Annotated[str, Field(max_length=64)]


class Part(BaseModel):
    """A part of a configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Config = TypeVar("Config", bound=Part)


class Pcm(Part):
    """16-bit little-endian samples at 24 kHz, mono."""

    type: Literal["audio/pcm"]
    rate: Literal[24000] = 24000


class Pcmu(Part):
    """G.711 μ-law at 8 kHz."""

    type: Literal["audio/pcmu"]


class Pcma(Part):
    """G.711 A-law at 8 kHz."""

    type: Literal["audio/pcma"]


AudioFormat = Annotated[Pcm | Pcmu | Pcma, Field(discriminator="type")]


class NoiseReduction(Part):
    """Accepted but ignored: the recognizers need no noise reduction."""

    type: Literal["near_field", "far_field"] | None = None
    strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None


class Transcription(Part):
    """The transcription model and its parameters."""

    model: str | None = None
    language: Language | None = None
    languages: list[Language] | None = Field(default=None, max_length=MAX_WORDS)
    keywords: list[str] | None = Field(default=None, max_length=MAX_WORDS)
    prompt: str | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None

    @field_validator("language")
    @classmethod
    def _unset(cls, language: str | None) -> str | None:
        return language if language and is_language_given(language) else None

    @field_validator("languages")
    @classmethod
    def _without_unset(cls, languages: list[str] | None) -> list[str] | None:
        return [name for name in languages or () if is_language_given(name)] or None

    @property
    def info_texts(self) -> list[str]:
        """Context for the model besides the audio."""
        return [text for text in (self.prompt, *(self.keywords or ())) if text]


class ServerVad(Part):
    """Turns end with silence. The last three fields concern responses."""

    type: Literal["server_vad"]
    threshold: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    prefix_padding_ms: int = Field(default=300, ge=0, le=MAX_PREFIX_MS)
    silence_duration_ms: int = Field(default=500, ge=0, le=MAX_SILENCE_MS)
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: int | None = Field(default=None, ge=0)
    """Accepted but ignored: silence of the user never starts a response."""

    @property
    def detection(self) -> Detection:
        """The equivalent parameters of the recognizer."""
        threshold = min(max(self.threshold, 0.02), 0.99)
        silence = max(self.silence_duration_ms, 100)  # shorter silences occur within words
        return Detection(threshold, self.prefix_padding_ms / 1000, silence / 1000)


class SemanticVad(Part):
    """Treated as a silence whose length depends on the eagerness: no semantic model is used."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool | None = None
    interrupt_response: bool | None = None

    @property
    def detection(self) -> Detection:
        """The equivalent parameters of the recognizer."""
        return Detection(silence_seconds=EAGERNESS_SECONDS[self.eagerness])


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class AudioInput(Part):
    """`audio.input` of a session."""

    format: AudioFormat = Pcm(type="audio/pcm")
    noise_reduction: NoiseReduction | None = None
    transcription: Transcription | None = Transcription()
    turn_detection: TurnDetection | None = ServerVad(type="server_vad")

    @property
    def live_options(self) -> LiveOptions:
        """The equivalent options of the recognizer."""
        found = self.transcription or Transcription()
        return LiveOptions(
            model=found.model or "",
            possible_languages=(found.language,) if found.language else found.languages or (),
            info=clean_words(", ".join(found.info_texts)),
            detection=self.turn_detection.detection if self.turn_detection else None,
            interval=DELAY_SECONDS[found.delay or "low"],
        )


class Audio(Part):
    """`audio` of a session."""

    input: AudioInput = AudioInput()


class TranscriptionConfig(Part):
    """The complete configuration of a session."""

    type: Literal["transcription"] = "transcription"
    audio: Audio = Audio()
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None

    @property
    def with_logprobs(self) -> bool:
        """Whether the client requested token log probabilities."""
        return bool(self.include)

    def described(self) -> dict[str, Any]:
        """The fields that are set. Unset fields are omitted because OpenAI's types (openai 7.57 for
        Node) allow null only for `turn_detection`, where it means off."""
        fields = self.model_dump(exclude_none=True)
        fields["audio"]["input"].setdefault("turn_detection", None)
        return fields

    def updated(self, changes: Mapping[str, Any], event_id: str | None) -> "TranscriptionConfig":
        """This configuration with `changes` merged in field by field. Raises InvalidEvent."""
        return with_changes(self, changes, event_id)


def with_changes(config: Config, changes: Mapping[str, Any], event_id: str | None) -> Config:
    """`config` with `changes` merged in field by field. Raises InvalidEvent."""
    try:
        return type(config).model_validate(_merged(config.model_dump(), changes))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        location = ("session", *first["loc"])
        raise invalid_field(location, first["type"], first["msg"], event_id=event_id) from None


def _merged(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(before)
    for key, value in changes.items():
        old: Any = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and _is_same_kind(old, value):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged


def _is_same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether `new` has the same type as `old`, or no type."""
    return new.get("type", old.get("type")) == old.get("type")
