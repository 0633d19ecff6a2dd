"""Every setting of the proxy, read once from the environment."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    HttpUrl,
    SecretStr,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from vibevoice_core.penalties import Switch
from vibevoice_light import find_moonshine
from vibevoice_proxy.setting_checks import ClientKeys, Host, SentKey, split
from vibevoice_tts import Attention, Dtype, ModelCard, choose_models

MIB = 1024 * 1024


def _named(name: str) -> Any:
    """A setting that keeps a name in use elsewhere, without our prefix."""
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """Settings of one proxy process; the environment variable is `VIBEVOICE_` + the field's name
    in capitals, unless the field names another."""

    model_config = SettingsConfigDict(
        env_prefix="VIBEVOICE_",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    api_host: Host = Field(default="127.0.0.1", validation_alias=_named("API_HOST"))
    """Address that the proxy listens on."""
    api_port: int = Field(default=8899, validation_alias=_named("API_PORT"), ge=0, le=65535)
    """Port that the proxy listens on."""
    asr_port: int = Field(default=8006, validation_alias=_named("ASR_PORT"), ge=1, le=65535)
    """Port of a speech-recognition engine on this machine."""
    asr_base_url: str = Field(default="", validation_alias=_named("ASR_BASE_URL"))
    """Base URL of the engine, with or without `/v1`; empty means this machine at `ASR_PORT`."""
    asr_api: Literal["chat", "transcriptions", "off"] = Field(
        default="chat", validation_alias=_named("ASR_API")
    )
    """What `ASR_BASE_URL` is: chat for our engine, transcriptions for any other server of OpenAI's
    transcription API, off for none."""
    asr_api_key: SentKey = Field(default=SecretStr(""), validation_alias=_named("ASR_API_KEY"))
    """Key that the engine or transcription server wants; empty means none."""
    light: Literal["auto", "on", "off"] = "auto"
    """The light recognizer, to which OpenAI's model names go then: auto is on unless the engine has
    a real VibeVoice-ASR, as far as `MODEL_DIR`, `ASR_BASE_URL` and `ASR_API` tell."""
    light_models: str = ""
    """Folder of the light recognizer's Moonshine; empty means the one that set-up has fetched."""
    light_workers: int = Field(default=0, ge=0)
    """Processes of the light recognizer, each on one core; 0 means one for each core, 8 at most."""
    served_model_name: str = Field(default="vibevoice", min_length=1)
    """Name under which the engine serves the model."""
    model_aliases: Annotated[tuple[str, ...], NoDecode] = (
        "vibevoice-asr",
        "whisper-1",
        "gpt-transcribe",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-transcribe-diarize",
        "gpt-live-transcribe",
        "gpt-realtime-whisper",
    )
    """Other model names that clients may use, separated by commas."""
    strict_model_names: bool = False
    """Answer 404 to a model name that is neither served nor an alias, instead of transcribing."""
    max_upload_bytes: int = Field(default=1024 * MIB, ge=1)
    """Largest request body in bytes; 413 above."""
    upload_timeout: float = Field(default=60.0, gt=0)
    """Seconds that a client may pause in the middle of its upload; 408 above."""
    spool_dir: str = ""
    """Folder for uploads above 2 MiB and audio above 30 seconds while they are needed; empty means
    the system's."""
    max_audio_seconds: float = Field(default=8 * 3600.0, gt=0)
    """Longest recording in seconds of decoded audio; 400 above."""
    max_section_seconds: float = Field(default=3600.0, ge=2)
    """Longest section in seconds that the model transcribes in one pass; longer recordings are cut
    into sections."""
    speaker_linking: bool = True
    """Compare voices: one label per person in all sections of a recording, and names of known
    speakers (docs/speakers.md). If false, labels contain the section's number."""
    speaker_threshold: float = Field(default=0.5, gt=0, lt=1, allow_inf_nan=False)
    """How similar two voices must be to get the same label. A lower value joins more speakers, a
    higher value keeps more apart."""
    max_known_speakers: int = Field(default=4, ge=1)
    """Maximum number of known_speaker_references per request; 400 above."""
    speaker_enrollment: bool = False
    """Allow clients to enroll speakers in `VIBEVOICE_SPEAKER_DIR`. Voices are personal data."""
    speaker_dir: str = ""
    """Folder of enrolled speakers; required by `VIBEVOICE_SPEAKER_ENROLLMENT`."""
    max_enrolled_speakers: int = Field(default=100, ge=1)
    """Maximum number of enrolled speakers (2 kB each)."""
    section_concurrency: int = Field(default=4, ge=1)
    """Sections of one long recording transcribed at the same time."""
    max_line_width: int = Field(default=42, ge=0, le=1000)
    """Most characters in a line of subtitles, unless the request has `max_line_width`; 0 means no
    limit."""
    max_line_count: int = Field(default=2, ge=0, le=100)
    """Most lines in a subtitle, unless the request has `max_line_count`; 0 means no limit."""
    max_cue_seconds: float = Field(default=7.0, ge=0, le=3600)
    """Longest time that a subtitle is shown, unless the request has `max_cue_seconds`; 0 means no
    limit."""
    max_concurrency: int = Field(default=64, ge=1)
    """Recordings served at the same time, uploads included."""
    max_queue: int = Field(default=64, ge=0)
    """Requests that wait for a place; 429 above, before their upload is read."""
    queue_timeout: float = Field(default=30.0, gt=0)
    """Seconds that a request waits for a place; 429 above."""
    shutdown_grace: int = Field(default=30, ge=0)
    """Seconds in which a proxy told to stop finishes what is in flight."""
    max_prompt_chars: int = Field(default=4000, ge=0)
    """Most characters of prompt, hotwords and keywords together; 400 above."""
    decode_timeout: float = Field(default=300.0, gt=0)
    """Seconds that decoding one upload may take; 400 above."""
    decode_concurrency: int = Field(default=8, ge=1)
    """Uploads decoded at the same time; the others wait."""
    upstream_audio_format: Literal["auto", "flac", "wav", "opus"] = "auto"
    """Encoding in which the audio goes to the engine: auto is wav up to 30 seconds and flac above;
    opus is small and lossy."""
    upstream_connect_timeout: float = Field(default=5.0, gt=0)
    """Seconds to reach the engine; 503 above."""
    upstream_read_timeout: float = Field(default=600.0, gt=0)
    """Seconds that the engine may be silent (it waits, or encodes the audio); 504 above."""
    penalties: Switch = "on"
    """Penalties on words that come again, on or off. They keep the model out of loops; what they
    cost on real speech is unmeasured (docs/measurements.md, Penalties). Off leaves temperature 0
    and the watch for loops. This project's engine goes by its own setting of the same name."""
    transcription_timeout: float = Field(default=3600.0, gt=0)
    """Seconds that the engine may take for one answer; 504 above."""
    ping_interval: float = Field(default=15.0, gt=0)
    """Seconds without an event after which a stream sends a comment; the first begins it."""
    health_timeout: float = Field(default=2.0, gt=0)
    """Seconds that the engine has to answer a health check."""
    api_keys: ClientKeys = ()
    """Keys that clients must send one of, separated by commas; empty means that anybody may."""
    api_keys_file: str = ""
    """File with further keys, one a line, read once at the start."""
    open_listings: bool = True
    """Whether the lists of models and voices, `/` and the docs need no key."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose pages may call from a browser, separated by commas; `*` means any."""
    translate_base_url: str = ""
    """Base URL with `/v1` of a chat model that translates transcripts; empty means none."""
    translate_api_key: SentKey = SecretStr("")
    """API key of the translating model."""
    translate_model: str = ""
    """Name of the translating model."""
    translate_timeout: float = Field(default=300.0, gt=0)
    """Seconds that the translating model may take for one answer; 504 above."""
    tts_model_type: str = Field(default="auto", validation_alias=_named("TTS_MODEL_TYPE"))
    """Speech models: 0.5b, 1.5b, both, hibari, espeak, off; auto is those in `MODEL_DIR`, else
    hibari with espeak behind it."""
    model_dir: str = Field(default="", validation_alias=_named("MODEL_DIR"))
    """Folder that may hold `VibeVoice-Realtime-0.5B`, `VibeVoice-1.5B` and `voices`."""
    tts_dtype: Dtype = Field(default="auto", validation_alias=_named("TTS_DTYPE"))
    """Precision of the speech models; auto is bfloat16 on a GPU that computes in it (Ampere or
    newer) and float32 elsewhere. float16 is not safe with weights trained in bfloat16."""
    tts_voice_cache: str = ""
    """Folder that keeps voice presets once converted from `.pt`; empty means none is kept."""
    tts_device: str = ""
    """Device of the speech models, such as cuda:1, mps or cpu; empty means the best there is. The
    speech image sets cuda, so it does not fall back to the CPU by itself."""
    attn_implementation: Attention = Field(
        default="sdpa", validation_alias=_named("ATTN_IMPLEMENTATION")
    )
    """Attention of the speech models, sdpa or eager; flash_attention_2 is refused, since it has no
    place for the mask of a batch whose requests have come at different times."""
    tts_batch_size: int = Field(default=16, ge=1)
    """Requests that a speech model speaks at the same time."""
    tts_max_queue: int = Field(default=32, ge=0)
    """Requests that wait for a speech model beside those being spoken; 429 above."""
    tts_max_input_chars: int = Field(default=50000, ge=1)
    """Most characters of a text to speak; 400 above."""
    tts_passage_chars: int = Field(default=1200, ge=50)
    """Longest passage in characters; a longer text is cut between sentences."""
    tts_start_timeout: float = Field(default=600.0, gt=0)
    """Seconds in which a speech model must be loaded and warm, or its worker is started anew."""
    tts_hang_timeout: float = Field(default=60.0, gt=0)
    """Seconds after which a worker that speaks and gives no sign of life is started anew."""
    voice_uploads: bool = False
    """Whether clients may store recordings of voices to clone, in `VIBEVOICE_VOICE_DIR`."""
    voice_dir: str = ""
    """Folder that keeps stored voices; needed with `VIBEVOICE_VOICE_UPLOADS`."""
    max_voices: int = Field(default=100, ge=1)
    """Most voices that are stored, each of at most 15 seconds (0.7 MB)."""
    tts_send_timeout: float = Field(default=60.0, gt=0)
    """Seconds after which speech ends whose client takes nothing of it."""
    realtime_max_sessions: int = Field(default=32, ge=0)
    """Realtime sessions at the same time; 429 above."""
    realtime_max_session_seconds: float = Field(default=3600.0, gt=0)
    """Longest realtime session in seconds."""
    realtime_idle_timeout: float = Field(default=300.0, gt=0)
    """Seconds without an event of its client after which a realtime session ends."""
    realtime_send_timeout: float = Field(default=60.0, gt=0)
    """Seconds after which a realtime session ends whose client takes none of its events."""
    realtime_max_buffer_seconds: float = Field(default=600.0, gt=0)
    """Most seconds of audio that a realtime session holds for a client that commits its turns."""
    realtime_max_message_bytes: int = Field(default=21 * MIB, ge=1024)
    """Largest message of a WebSocket; 21 MiB hold the 15 MiB of audio that OpenAI takes in one."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe log lines that are written."""
    log_format: Literal["text", "json"] = "text"
    """Log lines as text or as JSON objects."""

    @field_validator("model_aliases", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split(value)

    @field_validator("asr_base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value:
            TypeAdapter(HttpUrl).validate_python(value)
        return value.rstrip("/").removesuffix("/v1")

    @field_validator("translate_base_url")
    @classmethod
    def _check_translate_url(cls, value: str) -> str:
        if value:
            TypeAdapter(HttpUrl).validate_python(value)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _check_translation(self) -> Self:
        if self.translate_base_url and not self.translate_model:
            raise ValueError("VIBEVOICE_TRANSLATE_BASE_URL needs VIBEVOICE_TRANSLATE_MODEL")
        return self

    @model_validator(mode="after")
    def _check_voices(self) -> Self:
        if self.voice_uploads and not self.voice_dir:
            raise ValueError("VIBEVOICE_VOICE_UPLOADS needs VIBEVOICE_VOICE_DIR")
        return self

    @model_validator(mode="after")
    def _check_speakers(self) -> Self:
        if self.speaker_enrollment and not (self.speaker_dir and self.speaker_linking):
            raise ValueError(
                "VIBEVOICE_SPEAKER_ENROLLMENT needs VIBEVOICE_SPEAKER_DIR and "
                "VIBEVOICE_SPEAKER_LINKING"
            )
        return self

    @model_validator(mode="after")
    def _check_light(self) -> Self:
        if self.light == "on":
            find_moonshine(self.light_models)
        return self

    @model_validator(mode="after")
    def _check_speech_models(self) -> Self:
        choose_models(self.tts_model_type, self.models_folder)
        return self

    @property
    def models_folder(self) -> Path | None:
        """The folder of speech models; None where `MODEL_DIR` is empty or a name on the hub."""
        folder = Path(self.model_dir)
        return folder if self.model_dir and folder.is_dir() else None

    @property
    def speech_models(self) -> tuple[ModelCard, ...]:
        """The speech models to serve, the default first."""
        return choose_models(self.tts_model_type, self.models_folder)

    @property
    def asr_url(self) -> str:
        """Base URL of the engine without `/v1` and without a final slash."""
        return self.asr_base_url or f"http://127.0.0.1:{self.asr_port}"
