"""Every setting of the proxy, read once from the environment."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from vibevoice_core.penalties import Switch
from vibevoice_proxy.setting_checks import (
    BaseUrl,
    ClientKeys,
    Host,
    SentKey,
    check_light,
    names_real_engine,
    split,
)
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
    """Address to listen on."""
    api_port: int = Field(default=8899, validation_alias=_named("API_PORT"), ge=0, le=65535)
    """Port to listen on."""
    api_bind: Host = Field(default="", validation_alias=_named("API_BIND"))
    """Address on which Docker Compose publishes the port. The proxy itself only uses it to decide
    whether to warn that no API key is set."""
    asr_port: int = Field(default=8006, validation_alias=_named("ASR_PORT"), ge=1, le=65535)
    """Port of a speech-recognition engine on this machine."""
    asr_base_url: BaseUrl = Field(default="", validation_alias=_named("ASR_BASE_URL"))
    """Base URL of the engine, with or without `/v1`. Empty means this machine at `ASR_PORT`."""
    asr_api: Literal["chat", "transcriptions", "off"] = Field(
        default="chat", validation_alias=_named("ASR_API")
    )
    """API of the server at `ASR_BASE_URL`: chat for our engine, transcriptions for any other server
    with OpenAI's transcription API, off for no engine."""
    asr_api_key: SentKey = Field(default=SecretStr(""), validation_alias=_named("ASR_API_KEY"))
    """API key for the engine or transcription server, if it requires one."""
    light: Literal["auto", "on", "off"] = "auto"
    """Light recognizer: on, off, or auto. If it is on, it serves OpenAI's model names. auto turns
    it on unless `MODEL_DIR`, `ASR_BASE_URL`, and `ASR_API` indicate that the engine has a real
    VibeVoice-ASR."""
    light_models: str = ""
    """Folder of the light recognizer's Moonshine model. Empty means the model that setup or
    `vibevoice-light-models` downloaded."""
    light_workers: int = Field(default=0, ge=0)
    """Processes of the light recognizer, each on one core. 0 means one per core, up to 8."""
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
    """Other model names that clients may use, comma-separated."""
    strict_model_names: bool = False
    """Return 404 for unknown model names instead of using the default model."""
    max_upload_bytes: int = Field(default=1024 * MIB, ge=1)
    """Maximum size of a request body in bytes; larger requests get 413."""
    upload_timeout: float = Field(default=60.0, gt=0)
    """Maximum pause in seconds during an upload; slower clients get 408."""
    spool_dir: str = ""
    """Folder for temporary files: uploads over 2 MiB and audio over 30 seconds. Empty means the
    system's temporary folder."""
    max_audio_seconds: float = Field(default=8 * 3600.0, gt=0)
    """Maximum length of a recording in seconds of decoded audio; longer recordings get 400."""
    max_section_seconds: float = Field(default=3600.0, ge=2)
    """Maximum length of a section in seconds, which the model transcribes in one pass. Longer
    recordings are split into sections."""
    speaker_linking: bool = True
    """Compare voices: one label per person in all sections of a recording, and names of known
    speakers (docs/guides/speakers.md). If false, labels contain the section's number."""
    speaker_threshold: float = Field(default=0.5, gt=0, lt=1, allow_inf_nan=False)
    """Minimum similarity of two voices with the same label. Lower values merge more speakers."""
    max_known_speakers: int = Field(default=4, ge=1)
    """Maximum number of known_speaker_references per request; more get 400."""
    speaker_enrollment: bool = False
    """Allow clients to enroll speakers in `VIBEVOICE_SPEAKER_DIR`. Voices are personal data."""
    speaker_dir: str = ""
    """Folder of enrolled speakers; required by `VIBEVOICE_SPEAKER_ENROLLMENT`."""
    max_enrolled_speakers: int = Field(default=100, ge=1)
    """Maximum number of enrolled speakers (2 kB each)."""
    section_concurrency: int = Field(default=4, ge=1)
    """Maximum number of sections of one recording transcribed at the same time."""
    max_line_width: int = Field(default=42, ge=0, le=1000)
    """Maximum number of characters per subtitle line, unless the request sets `max_line_width`. 0
    means no limit."""
    max_line_count: int = Field(default=2, ge=0, le=100)
    """Maximum number of lines per subtitle, unless the request sets `max_line_count`. 0 means no
    limit."""
    max_cue_seconds: float = Field(default=7.0, ge=0, le=3600)
    """Maximum time in seconds that a subtitle is shown, unless the request sets `max_cue_seconds`.
    0 means no limit."""
    max_concurrency: int = Field(default=64, ge=1)
    """Maximum number of recordings served at the same time, including uploads."""
    max_queue: int = Field(default=64, ge=0)
    """Maximum number of queued requests; more get 429 before their upload is read."""
    queue_timeout: float = Field(default=30.0, gt=0)
    """Maximum time in seconds that a request waits in the queue; then it gets 429."""
    shutdown_grace: int = Field(default=30, ge=0)
    """Seconds that the proxy waits on shutdown for requests in progress."""
    max_prompt_chars: int = Field(default=4000, ge=0)
    """Maximum characters of prompt, hotwords, and keywords combined; longer requests get 400."""
    decode_timeout: float = Field(default=300.0, gt=0)
    """Maximum time in seconds to decode an upload; then the request gets 400."""
    decode_concurrency: int = Field(default=8, ge=1)
    """Maximum number of uploads decoded at the same time; others wait."""
    upstream_audio_format: Literal["auto", "flac", "wav", "opus"] = "auto"
    """Audio encoding sent to the engine. auto means wav up to 30 seconds and flac for longer audio;
    opus is small and lossy."""
    upstream_connect_timeout: float = Field(default=5.0, gt=0)
    """Maximum time in seconds to connect to the engine; then the request gets 503."""
    upstream_read_timeout: float = Field(default=600.0, gt=0)
    """Maximum time in seconds without data from the engine, which sends nothing while it queues a
    request or encodes audio; then the request gets 504."""
    penalties: Switch = "on"
    """Penalties on repeated words, on or off. They keep the model out of loops; their effect
    on the accuracy of real speech has not been measured (docs/background/decoding.md). off does not
    affect temperature 0 and loop detection. This project's engine uses its own setting of the same
    name."""
    transcription_timeout: float = Field(default=3600.0, gt=0)
    """Maximum time in seconds for one response of the engine; then the request gets 504."""
    ping_interval: float = Field(default=15.0, gt=0)
    """Seconds without an event after which a stream sends a comment. The first comment also starts
    the response."""
    health_timeout: float = Field(default=2.0, gt=0)
    """Timeout in seconds for health checks of the engine."""
    api_keys: ClientKeys = ()
    """Comma-separated API keys. Empty disables authentication."""
    api_keys_file: str = ""
    """File with additional API keys, one per line, read once at startup."""
    open_listings: bool = True
    """Allow access without a key to the lists of models and voices, `/`, and the API docs."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins allowed to call the API from a browser (CORS), comma-separated; `*` allows any."""
    translate_base_url: BaseUrl = ""
    """Base URL, with `/v1`, of the chat model that translates transcripts. Empty means none."""
    translate_api_key: SentKey = SecretStr("")
    """API key for the translation model."""
    translate_model: str = ""
    """Name of the translation model."""
    translate_timeout: float = Field(default=300.0, gt=0)
    """Maximum time in seconds for one translation response; then the request gets 504."""
    tts_model_type: str = Field(default="auto", validation_alias=_named("TTS_MODEL_TYPE"))
    """Speech models: 0.5b, 1.5b, both, hibari, espeak, or off. auto uses the models in `MODEL_DIR`;
    if there are none, hibari reads text in Latin letters, and espeak reads other text."""
    model_dir: str = Field(default="", validation_alias=_named("MODEL_DIR"))
    """Folder of the models. For speech, the proxy loads `VibeVoice-Realtime-0.5B`,
    `VibeVoice-1.5B`, and `voices` from it, all optional. The engine and `make serve` also accept
    VibeVoice-ASR's folder or hub id."""
    tts_dtype: Dtype = Field(default="auto", validation_alias=_named("TTS_DTYPE"))
    """Precision of the speech models. auto means bfloat16 on GPUs that support it (Ampere or
    newer), otherwise float32. float16 is not safe with weights trained in bfloat16."""
    tts_voice_cache: str = ""
    """Folder that caches voice presets converted from `.pt` files. Empty disables the cache."""
    tts_device: str = ""
    """Device of the speech models, such as cuda:1, mps, or cpu. Empty means the best one available.
    The speech image sets cuda, so it does not silently fall back to the CPU."""
    attn_implementation: Attention = Field(
        default="sdpa", validation_alias=_named("ATTN_IMPLEMENTATION")
    )
    """Attention implementation of the speech models: sdpa or eager. flash_attention_2 is rejected:
    it does not support the per-request masks of continuous batching."""
    tts_batch_size: int = Field(default=16, ge=1)
    """Maximum number of requests that a speech model synthesizes at the same time."""
    tts_max_queue: int = Field(default=32, ge=0)
    """Maximum number of queued requests per speech model; more get 429."""
    tts_max_input_chars: int = Field(default=50000, ge=1)
    """Maximum length of the input text in characters; longer texts get 400."""
    tts_passage_chars: int = Field(default=1200, ge=50)
    """Maximum length of a passage in characters. Longer texts are split between sentences."""
    tts_start_timeout: float = Field(default=600.0, gt=0)
    """Maximum time in seconds for a speech model to start; then its worker is restarted."""
    tts_hang_timeout: float = Field(default=60.0, gt=0)
    """Restart a worker that is synthesizing but has sent nothing for this many seconds."""
    voice_uploads: bool = False
    """Allow clients to store voice recordings for cloning in `VIBEVOICE_VOICE_DIR`."""
    voice_dir: str = ""
    """Folder for stored voices; required by `VIBEVOICE_VOICE_UPLOADS`."""
    max_voices: int = Field(default=100, ge=1)
    """Maximum number of stored voices, each up to 15 seconds (0.7 MB)."""
    tts_send_timeout: float = Field(default=60.0, gt=0)
    """Abort a speech response if the client reads nothing for this many seconds."""
    realtime_max_sessions: int = Field(default=32, ge=0)
    """Maximum number of open realtime sessions; more get 429."""
    realtime_max_session_seconds: float = Field(default=3600.0, gt=0)
    """Maximum length of a realtime session in seconds."""
    realtime_idle_timeout: float = Field(default=300.0, gt=0)
    """Close a realtime session if the client sends no event for this many seconds."""
    realtime_send_timeout: float = Field(default=60.0, gt=0)
    """Close a realtime session if the client reads nothing for this many seconds."""
    realtime_max_buffer_seconds: float = Field(default=600.0, gt=0)
    """Maximum audio in seconds that a realtime session buffers if the client commits its turns."""
    realtime_max_message_bytes: int = Field(default=21 * MIB, ge=1024)
    """Maximum size of a WebSocket message in bytes. 21 MiB is enough for 15 MiB of audio in base64,
    OpenAI's limit."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Minimum log level."""
    log_format: Literal["text", "json"] = "text"
    """Log format: text or JSON objects."""

    @field_validator("model_aliases", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split(value)

    @field_validator("asr_base_url")
    @classmethod
    def _without_version(cls, value: str) -> str:
        return value.removesuffix("/v1")

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
        if self.uses_light:
            check_light(self.light, self.light_models, self.served_model_name)
        return self

    @model_validator(mode="after")
    def _check_speech_models(self) -> Self:
        choose_models(self.tts_model_type, self.models_folder)
        return self

    @property
    def uses_light(self) -> bool:
        """Whether OpenAI's model names select the light recognizer."""
        return self.light == "on" or (self.light == "auto" and not self.has_real_engine)

    @property
    def has_real_engine(self) -> bool:
        """Whether the settings name a real VibeVoice-ASR or another server, or disable the
        engine."""
        return names_real_engine(self.asr_api, self.asr_base_url, self.model_dir)

    @property
    def models_folder(self) -> Path | None:
        """The folder with the speech models; None if `MODEL_DIR` is empty or a name on the hub."""
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
