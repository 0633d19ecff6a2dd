"""What to run for the engine: settings → vLLM's arguments and environment, nothing else."""

import json
import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vibevoice_core.penalties import TEMPERATURE, Penalties, pinned_penalties
from vibevoice_vllm.settings import LaunchSettings

Device = Literal["gpu", "cpu"]


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
        *("--chat-template", settings.chat_template or str(_chat_template())),
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
        argv += _native_arguments(settings, device, environ)
    else:
        argv += ["--default-chat-template-kwargs", '{"newline_after_audio": false}']
    return EngineCommand([*argv, *(extra or [])], _environment(settings, device, environ))


def _generation(settings: LaunchSettings) -> dict[str, float]:
    """What holds for requests that the middleware does not pin, and the bound of every answer."""
    native = settings.plugin == "native"
    penalties = Penalties() if native else pinned_penalties(settings.penalties)
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
        env["VIBEVOICE_PENALTIES"] = settings.penalties
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


def _chat_template() -> Path:
    """This project's prompt template, as it is installed or as it is checked out."""
    installed = Path(__file__).with_name("vibevoice_asr.jinja")
    checked_out = Path(__file__).parents[2] / "chat_templates" / installed.name
    return installed if installed.exists() else checked_out


def _python(settings: LaunchSettings) -> list[str]:
    if settings.conda_env:
        return ["conda", "run", "--no-capture-output", "-n", settings.conda_env, "python"]
    python = settings.python or sys.executable
    return [str(Path(python) / "bin" / "python") if Path(python).is_dir() else python]


def _native_arguments(
    settings: LaunchSettings, device: Device, environ: Mapping[str, str]
) -> list[str]:
    """What our own plugin adds: pinned decoding and the scheduler of long recordings."""
    first_runner = device == "cpu" or environ.get("VLLM_USE_V2_MODEL_RUNNER") == "0"
    processor = "SegmentPenalty" if first_runner else "SegmentPenaltyV2"
    # Without the processor no request has penalties, also none of a file for run-batch.
    processors = ["--logits-processors", f"vibevoice_vllm.segment_penalty:{processor}"]
    return [
        *(processors if settings.penalties == "on" else []),
        *("--middleware", "vibevoice_vllm.middleware.PinnedDecoding"),
        *("--scheduler-cls", "vibevoice_vllm.scheduler.create_scheduler"),
        # It would keep gigabytes of recordings; the encoder's own cache serves repeated audio.
        *("--mm-processor-cache-gb", "0"),
    ]
