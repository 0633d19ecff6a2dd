"""The configuration of a transcription session (openai 3.57,
`RealtimeTranscriptionSessionCreateRequest`)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vibevoice_core.prompt import clean_words
from vibevoice_light import Detection
from vibevoice_proxy.live import LiveOptions
from vibevoice_proxy.realtime.client_events import invalid_field

EAGERNESS_SECONDS = {"high": 0.5, "auto": 1.0, "medium": 1.0, "low": 2.0}
"""Silence that ends a turn in place of a model that reads the words."""
DELAY_SECONDS = {"minimal": 0.3, "low": 0.5, "medium": 1.0, "high": 2.0, "xhigh": 4.0}
"""New speech after which words are looked for."""
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
    """Accepted without effect: the recognizers hear the audio as it is."""

    type: Literal["near_field", "far_field"] | None = None
    strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None


class Transcription(Part):
    """What recognizes, and what it is told."""

    model: str | None = None
    language: Language | None = None
    languages: list[Language] | None = Field(default=None, max_length=MAX_WORDS)
    keywords: list[str] | None = Field(default=None, max_length=MAX_WORDS)
    prompt: str | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None

    @property
    def info_texts(self) -> list[str]:
        """What the model is told beside the audio."""
        return [text for text in (self.prompt, *(self.keywords or ())) if text]


class ServerVad(Part):
    """Turns end with silence. The last three fields concern answers, which there are none of."""

    type: Literal["server_vad"]
    threshold: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    prefix_padding_ms: int = Field(default=300, ge=0, le=MAX_PREFIX_MS)
    silence_duration_ms: int = Field(default=500, ge=0, le=MAX_SILENCE_MS)
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: int | None = Field(default=None, ge=0)
    """Accepted without effect: nothing is said into the silence of a user."""

    @property
    def detection(self) -> Detection:
        """For the recognizer."""
        threshold = min(max(self.threshold, 0.02), 0.99)
        silence = max(self.silence_duration_ms, 100)  # words have shorter ones
        return Detection(threshold, self.prefix_padding_ms / 1000, silence / 1000)


class SemanticVad(Part):
    """Taken as a silence whose length depends on the eagerness: no model reads the words."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool | None = None
    interrupt_response: bool | None = None

    @property
    def detection(self) -> Detection:
        """For the recognizer."""
        return Detection(silence_seconds=EAGERNESS_SECONDS[self.eagerness])


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class AudioInput(Part):
    """How a session listens."""

    format: AudioFormat = Pcm(type="audio/pcm")
    noise_reduction: NoiseReduction | None = None
    transcription: Transcription | None = Transcription()
    turn_detection: TurnDetection | None = ServerVad(type="server_vad")

    @property
    def live_options(self) -> LiveOptions:
        """The same for the recognizer."""
        found = self.transcription or Transcription()
        return LiveOptions(
            model=found.model or "",
            spoken_language=found.language or next(iter(found.languages or ()), None),
            info=clean_words(", ".join(found.info_texts)),
            detection=self.turn_detection.detection if self.turn_detection else None,
            interval=DELAY_SECONDS[found.delay or "low"],
        )


class Audio(Part):
    """`audio` of a session."""

    input: AudioInput = AudioInput()


class TranscriptionConfig(Part):
    """A whole configuration."""

    type: Literal["transcription"] = "transcription"
    audio: Audio = Audio()
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None

    @property
    def with_logprobs(self) -> bool:
        """Whether the client asked for log probabilities of tokens."""
        return bool(self.include)

    def described(self) -> dict[str, Any]:
        """The fields that are set. Of the others OpenAI's types (openai 7.57 for Node) have only a
        null `turn_detection`, which turns it off."""
        fields = self.model_dump(exclude_none=True)
        fields["audio"]["input"].setdefault("turn_detection", None)
        return fields

    def updated(self, changes: Mapping[str, Any], event_id: str | None) -> "TranscriptionConfig":
        """The configuration with the fields of `changes` in place of its own; a part is taken
        field by field. Raises InvalidEvent."""
        return with_changes(self, changes, event_id)


def with_changes(config: Config, changes: Mapping[str, Any], event_id: str | None) -> Config:
    """`config` with the fields of `changes` in place of its own. Raises InvalidEvent."""
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
    """Whether `new` has the type of `old`, or names none."""
    return new.get("type", old.get("type")) == old.get("type")
