"""What to run for the engine: settings → vLLM's arguments and environment, nothing else."""

import json
import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from vibevoice_vllm.penalties import PINNED, TEMPERATURE, Penalties

Device = Literal["gpu", "cpu"]

_INSTALLED = Path(__file__).with_name("vibevoice_asr.jinja")
_CHECKED_OUT = Path(__file__).parents[2] / "chat_templates" / "vibevoice_asr.jinja"


class LaunchSettings(BaseSettings):
    """Every flag of the start script. A flag is the name with dashes."""

    model_config = SettingsConfigDict(
        env_prefix="VIBEVOICE_",
        env_ignore_empty=True,
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    model_dir: str = Field(default="", validation_alias=AliasChoices("MODEL_DIR"))
    """Served folder, a folder that holds VibeVoice-ASR, or a hub id (prepared into models/)."""
    plugin: Literal["native", "microsoft"] = "native"
    """Whose vLLM plugin serves the model; microsoft needs its own environment."""
    device: Literal["auto", "gpu", "cpu"] = "auto"
    """auto: gpu if nvidia-smi answers."""
    gpu: str = ""
    """Ids of the GPUs to use, as in 0 or 0,1 (all)."""
    host: str = Field(default="127.0.0.1", validation_alias=AliasChoices("ASR_HOST"))
    """Address to listen on."""
    port: int = Field(default=8006, ge=1, le=65535, validation_alias=AliasChoices("ASR_PORT"))
    """Port to listen on."""
    served_model_name: str = "vibevoice"
    """The model's name in the API."""
    dtype: str = Field(default="", validation_alias=AliasChoices("ASR_DTYPE"))
    """Of the language model: bfloat16, float16, float32 (gpu: bfloat16, cpu: float32)."""
    max_model_len: int = Field(default=65536, ge=1)
    """Tokens of prompt and answer together; an hour of audio is 27000."""
    max_num_seqs: int = Field(default=64, ge=1, validation_alias=AliasChoices("BATCH_SIZE"))
    """Requests in a batch."""
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    """Tokens in a step (gpu: 32768, cpu: 2048)."""
    max_new_tokens: int = Field(default=32768, ge=1)
    """Bound of every answer, whatever max_tokens a request names."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of the GPU's memory to take (vLLM's default)."""
    cpu_kvcache_gib: int = Field(
        default=2, ge=1, validation_alias=AliasChoices("VLLM_CPU_KVCACHE_SPACE")
    )
    """Memory for the key-value cache on a CPU, GiB."""
    attention_backend: str = "TRITON_ATTN"
    """vLLM's attention backend on a GPU."""
    enforce_eager: bool = True
    """No compilation and no CUDA graphs."""
    enable_prefix_caching: bool = False
    """Keep the cache of prompts: of use only where the same recording comes again."""
    enable_chunked_prefill: bool = True
    """Read long prompts in pieces between which others decode."""
    trust_remote_code: bool | None = None
    """Run Python code from the model folder (native: no, it has none; microsoft: yes)."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share one copy of the model."""
    pipeline_parallel_size: int = Field(default=1, ge=1)
    """GPUs that hold a copy's layers one after the other."""
    data_parallel_size: int = Field(default=1, ge=1)
    """Copies of the model."""
    chat_template: str = str(_INSTALLED if _INSTALLED.exists() else _CHECKED_OUT)
    """The prompt template."""
    max_audio_seconds: int = Field(
        default=61 * 60, ge=1, validation_alias=AliasChoices("VIBEVOICE_ENGINE_AUDIO_SECONDS")
    )
    """The longest recording taken; bytes before and after decoding are limited to fit."""
    allowed_local_media_path: str = ""
    """Folder below which file:// audio may be read (none)."""
    ffmpeg_max_concurrency: int = Field(default=64, ge=1)
    """Recordings that Microsoft's plugin decodes at once."""
    python: str = sys.executable
    """The Python that has vLLM."""
    venv: str = ""
    """A virtual environment to take instead."""
    conda_env: str = ""
    """A conda environment to take instead."""
    shutdown_timeout: int = Field(default=0, ge=0)
    """Seconds in which an engine told to stop finishes its requests (0: it drops them)."""
    wait_ready_secs: int = Field(default=120, ge=0)
    """How long the engine may take until it is healthy (0: for ever)."""


@dataclass(frozen=True)
class EngineCommand:
    argv: list[str]
    env: dict[str, str]
    """What is set beside the inherited environment."""

    def __str__(self) -> str:
        return shlex.join(["env", *(f"{k}={v}" for k, v in self.env.items()), *self.argv])


def engine_command(
    settings: LaunchSettings,
    device: Device,
    environ: Mapping[str, str],
    extra: list[str] | None = None,
) -> EngineCommand:
    """What to run for these settings; limits that `environ` already sets are left as they are."""
    native = settings.plugin == "native"
    batched = settings.max_num_batched_tokens or (32768 if device == "gpu" else 2048)
    trust = not native if settings.trust_remote_code is None else settings.trust_remote_code
    argv = [
        *_python(settings),
        *("-m", "vllm.entrypoints.openai.api_server"),
        *("--model", settings.model_dir),
        *("--served-model-name", settings.served_model_name),
        *("--host", settings.host, "--port", str(settings.port)),
        *("--dtype", settings.dtype or ("bfloat16" if device == "gpu" else "float32")),
        *("--max-model-len", str(settings.max_model_len)),
        *("--max-num-seqs", str(settings.max_num_seqs)),
        *("--max-num-batched-tokens", str(batched)),
        *(["--enforce-eager"] if settings.enforce_eager else []),
        _switch("enable-prefix-caching", settings.enable_prefix_caching),
        _switch("enable-chunked-prefill", settings.enable_chunked_prefill),
        *(["--trust-remote-code"] if trust else []),
        *("--tensor-parallel-size", str(settings.tensor_parallel_size)),
        *("--pipeline-parallel-size", str(settings.pipeline_parallel_size)),
        *("--data-parallel-size", str(settings.data_parallel_size)),
        *("--chat-template", settings.chat_template),
        *("--chat-template-content-format", "openai"),
        *("--override-generation-config", json.dumps(_generation(settings))),
        # No host has this name (RFC 2606), so no http(s) URL is fetched.
        *("--allowed-media-domains", "none.invalid"),
    ]
    if settings.shutdown_timeout:
        argv += ["--shutdown-timeout", str(settings.shutdown_timeout)]
    if settings.allowed_local_media_path:
        argv += ["--allowed-local-media-path", settings.allowed_local_media_path]
    if device == "gpu":
        argv += ["--attention-backend", settings.attention_backend]
        if settings.gpu_memory_utilization is not None:
            argv += ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    if native:
        argv += _native_arguments(device, environ)
    else:
        argv += ["--default-chat-template-kwargs", '{"newline_after_audio": false}']
    return EngineCommand([*argv, *(extra or [])], _environment(settings, device, environ))


def _generation(settings: LaunchSettings) -> dict[str, float]:
    """What holds for requests that the middleware does not pin, and the bound of every answer."""
    penalties = Penalties() if settings.plugin == "native" else PINNED
    return {
        "temperature": TEMPERATURE,
        "top_p": 1.0,
        "repetition_penalty": penalties.repetition,
        "frequency_penalty": penalties.frequency,
        "presence_penalty": penalties.presence,
        "max_new_tokens": settings.max_new_tokens,
    }


def _environment(
    settings: LaunchSettings, device: Device, environ: Mapping[str, str]
) -> dict[str, str]:
    seconds = settings.max_audio_seconds
    defaults = {
        # As much as 16-bit mono WAV at 24 kHz takes, the largest encoding that the proxy sends.
        "VLLM_MAX_AUDIO_CLIP_FILESIZE_MB": str(math.ceil(seconds * 48_000 / 2**20)),
        "VLLM_MAX_AUDIO_DECODE_DURATION_S": str(seconds),
        # float32 at 48 kHz in stereo, before it is mixed down and resampled.
        "VLLM_MAX_AUDIO_DECODE_BYTES": str(seconds * 48_000 * 2 * 4),
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if device == "gpu":
        defaults["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    env = {name: value for name, value in defaults.items() if name not in environ}
    env["VIBEVOICE_ENGINE_AUDIO_SECONDS"] = str(seconds)
    if settings.plugin == "native":
        env |= {"VLLM_PLUGINS": "vibevoice_asr", "VLLM_MEDIA_CONNECTOR": "vibevoice"}
    else:
        concurrency = str(settings.ffmpeg_max_concurrency)
        env |= {"VLLM_PLUGINS": "vibevoice", "VIBEVOICE_FFMPEG_MAX_CONCURRENCY": concurrency}
    if device == "cpu":
        env["VLLM_CPU_KVCACHE_SPACE"] = str(settings.cpu_kvcache_gib)
    if settings.gpu:
        env["CUDA_VISIBLE_DEVICES"] = settings.gpu
    return env


def _switch(name: str, on: bool) -> str:
    return f"--{name}" if on else f"--no-{name}"


def _python(settings: LaunchSettings) -> list[str]:
    if settings.conda_env:
        return ["conda", "run", "--no-capture-output", "-n", settings.conda_env, "python"]
    return [str(Path(settings.venv) / "bin" / "python") if settings.venv else settings.python]


def _native_arguments(device: Device, environ: Mapping[str, str]) -> list[str]:
    """What our own plugin adds: pinned decoding and the scheduler of long recordings."""
    first_runner = device == "cpu" or environ.get("VLLM_USE_V2_MODEL_RUNNER") == "0"
    processor = "SegmentPenalty" if first_runner else "SegmentPenaltyV2"
    return [
        *("--logits-processors", f"vibevoice_vllm.decoding:{processor}"),
        *("--middleware", "vibevoice_vllm.middleware.PinnedDecoding"),
        *("--scheduler-cls", "vibevoice_vllm.scheduler.create_scheduler"),
        # It would keep gigabytes of recordings; the encoder's own cache knows repeated audio.
        *("--mm-processor-cache-gb", "0"),
    ]
