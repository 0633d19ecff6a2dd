"""Every setting of the proxy, read once from the environment."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, HttpUrl, TypeAdapter, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024


def _named(name: str) -> Any:
    """A setting that keeps a name in use elsewhere, without our prefix."""
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """Settings of one proxy process; the environment variable is `VIBEVOICE_` + the field's name
    in capitals, unless the field names another."""

    model_config = SettingsConfigDict(
        env_prefix="VIBEVOICE_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    api_host: str = Field(default="127.0.0.1", validation_alias=_named("API_HOST"))
    """Address that the proxy listens on."""
    api_port: int = Field(default=8899, validation_alias=_named("API_PORT"), ge=0, le=65535)
    """Port that the proxy listens on."""
    asr_port: int = Field(default=8006, validation_alias=_named("ASR_PORT"), ge=1, le=65535)
    """Port of a speech-recognition engine on this machine."""
    asr_base_url: str = Field(default="", validation_alias=_named("ASR_BASE_URL"))
    """Base URL of the engine, with or without `/v1`; empty means this machine at `ASR_PORT`."""
    served_model_name: str = Field(default="vibevoice", min_length=1)
    """Name under which the engine serves the model."""
    model_aliases: Annotated[tuple[str, ...], NoDecode] = (
        "vibevoice-asr",
        "whisper-1",
        "gpt-transcribe",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-transcribe-diarize",
    )
    """Other model names that clients may use, separated by commas."""
    strict_model_names: bool = False
    """Answer 404 to a model name that is neither served nor an alias, instead of transcribing."""
    max_upload_bytes: int = Field(default=1024 * MIB, ge=1)
    """Largest request body in bytes; 413 above."""
    max_audio_seconds: float = Field(default=3660.0, gt=0)
    """Longest recording in seconds of decoded audio; 400 above."""
    max_prompt_chars: int = Field(default=4000, ge=0)
    """Most characters of prompt, hotwords and keywords together; 400 above."""
    decode_timeout: float = Field(default=300.0, gt=0)
    """Seconds that decoding one upload may take; 400 above."""
    ffmpeg_max_concurrency: int = Field(default=8, ge=1)
    """Uploads decoded at the same time; the others wait."""
    upstream_audio_format: Literal["flac", "wav", "opus"] = "flac"
    """Encoding in which the audio goes to the engine; opus is small and lossy."""
    upstream_connect_timeout: float = Field(default=5.0, gt=0)
    """Seconds to reach the engine; 503 above."""
    upstream_read_timeout: float = Field(default=600.0, gt=0)
    """Seconds that the engine may be silent (it waits, or encodes the audio); 504 above."""
    transcription_timeout: float = Field(default=3600.0, gt=0)
    """Seconds that one transcription may take in the engine; 504 above."""
    health_timeout: float = Field(default=2.0, gt=0)
    """Seconds that the engine has to answer a health check."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe log lines that are written."""

    @field_validator("model_aliases", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name for part in value.split(",") if (name := part.strip()))
        return value

    @field_validator("asr_base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value:
            TypeAdapter(HttpUrl).validate_python(value)
        return value.rstrip("/").removesuffix("/v1")

    @property
    def asr_url(self) -> str:
        """Base URL of the engine without `/v1` and without a final slash."""
        return self.asr_base_url or f"http://127.0.0.1:{self.asr_port}"


def describe_settings() -> list[tuple[str, str, str]]:
    """(environment variable, default as one would write it, description) of every setting."""
    prefix = Settings.model_config.get("env_prefix", "")
    described = []
    for field_name, field in Settings.model_fields.items():
        alias = field.validation_alias
        if isinstance(alias, AliasChoices):
            name = str(alias.choices[0])
        else:
            name = f"{prefix}{field_name}".upper()
        described.append((name, _written(field.default), field.description or ""))
    return described


def _written(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
