"""Builds the engine's command line and environment from the settings. Does nothing else."""

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vibevoice_core.penalties import TEMPERATURE, Penalties, pinned_penalties
from vibevoice_vllm.memory_plan import MemoryPlan
from vibevoice_vllm.settings import LONGEST_CONTEXT, LaunchSettings

Device = Literal["gpu", "cpu"]
NATIVE_SERVER = ("vibevoice_vllm.engine",)
"""The module to run; it takes the arguments of `vllm serve`."""
MICROSOFT_SERVER = ("vllm.entrypoints.cli.main", "serve")
"""The equivalent module where this package is not installed."""


@dataclass(frozen=True)
class EngineCommand:
    argv: list[str]
    env: dict[str, str]
    """Environment variables set in addition to the inherited ones."""

    def __str__(self) -> str:
        return shlex.join(["env", *(f"{k}={v}" for k, v in self.env.items()), *self.argv])


def engine_command(
    settings: LaunchSettings,
    device: Device,
    environ: Mapping[str, str],
    extra: list[str] | None = None,
    plan: MemoryPlan | None = None,
) -> EngineCommand:
    """Build the command for these settings. Limits already set in `environ` are left as they are.

    Args:
        extra: arguments for vLLM, appended after all others.
        plan: the memory plan that filled in `settings`, if there was one.
    """
    native, gpu = settings.plugin == "native", device == "gpu"
    trust = not native if settings.trust_remote_code is None else settings.trust_remote_code
    argv = [
        *_python(settings),
        *("-m", *(NATIVE_SERVER if native else MICROSOFT_SERVER), settings.model_dir),
        *("--served-model-name", settings.served_model_name),
        *("--host", settings.host, "--port", str(settings.port)),
        *("--dtype", settings.dtype or ("bfloat16" if gpu else "float32")),
        *_speed(settings, device),
        _switch("enable-prefix-caching", settings.enable_prefix_caching),
        _switch("enable-chunked-prefill", settings.enable_chunked_prefill),
        *(["--trust-remote-code"] if trust else []),
        *("--tensor-parallel-size", str(settings.tensor_parallel_size)),
        *("--pipeline-parallel-size", str(settings.pipeline_parallel_size)),
        *("--data-parallel-size", str(settings.data_parallel_size)),
        *("--chat-template", settings.chat_template or str(_chat_template())),
        *("--chat-template-content-format", "openai"),
        *("--override-generation-config", json.dumps(_generation(settings))),
        # This host name never resolves (RFC 2606), so no http(s) URL is fetched.
        *("--allowed-media-domains", "none.invalid"),
    ]
    if settings.quantization:
        argv += ["--quantization", settings.quantization]
    if settings.kv_cache_dtype:
        argv += ["--kv-cache-dtype", settings.kv_cache_dtype]
    if settings.shutdown_timeout:
        argv += ["--shutdown-timeout", str(settings.shutdown_timeout)]
    if settings.allowed_local_media_path:
        argv += ["--allowed-local-media-path", settings.allowed_local_media_path]
    if gpu and settings.gpu_memory_utilization is not None:
        argv += ["--gpu-memory-utilization", str(settings.gpu_memory_utilization)]
    if plan and plan.shares_card:
        # vLLM's own measurement would include memory that other programs allocate or free in the
        # meantime.
        argv += ["--kv-cache-memory-bytes", str(plan.cache)]
    if native:
        argv += _native_arguments(settings, device, environ)
    else:
        argv += ["--default-chat-template-kwargs", '{"newline_after_audio": false}']
    env = _environment(settings, device, environ)
    if plan:
        env["VIBEVOICE_ENCODER_DTYPE"] = plan.encoder_dtype
    return EngineCommand([*argv, *(extra or [])], env)


def front_end_problem(arguments: Sequence[str], environ: Mapping[str, str]) -> str:
    """Why vLLM must not be started this way: the front end would bypass the middleware that pins
    the decoding of every request. Empty if nothing is wrong."""
    if environ.get("VLLM_USE_RUST_FRONTEND", "").strip() not in ("", "0"):
        return (
            "VLLM_USE_RUST_FRONTEND is set: vLLM's Rust front end has no middleware, so callers "
            "could set temperature and penalties, and it limits request bodies to 32 MiB. "
            "Unset it."
        )
    for argument in arguments:
        if (flag := argument.partition("=")[0].replace("_", "-")) in ("--grpc", "--grpc-port"):
            return (
                f"{flag} is given: gRPC requests bypass the middleware, so callers could set "
                "temperature and penalties. Remove it."
            )
    return ""


def _speed(settings: LaunchSettings, device: Device) -> list[str]:
    """Arguments for batch sizes and execution mode, with defaults where no plan set a value."""
    gpu = device == "gpu"
    batched = settings.tokens_a_step(settings.max_model_len)
    if batched is None:
        batched = (32768 if settings.slow_on_gpu else 8192) if gpu else 2048
    interval = settings.stream_interval or (4 if gpu and not settings.slow_on_gpu else 1)
    eager = settings.eager_on_gpu if gpu else settings.enforce_eager is not False
    backend = settings.attention_backend or ("TRITON_ATTN" if settings.slow_on_gpu else "")
    return [
        *("--max-model-len", str(settings.max_model_len or LONGEST_CONTEXT)),
        *("--max-num-seqs", str(settings.max_num_seqs or 64)),
        *("--max-num-batched-tokens", str(batched)),
        *(["--stream-interval", str(interval)] if interval > 1 else []),
        *(["--enforce-eager"] if eager else []),
        *(["--attention-backend", backend] if gpu and backend else []),
    ]


def _generation(settings: LaunchSettings) -> dict[str, float]:
    """Defaults for requests that the middleware does not pin, and the limit on every answer."""
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
        # The size of 16-bit mono WAV at 24 kHz, the largest encoding that the proxy sends.
        "VLLM_MAX_AUDIO_CLIP_FILESIZE_MB": str(math.ceil(seconds * 48_000 / 2**20)),
        "VLLM_MAX_AUDIO_DECODE_DURATION_S": str(seconds),
        # float32 stereo at 48 kHz, before it is mixed down and resampled.
        "VLLM_MAX_AUDIO_DECODE_BYTES": str(seconds * 48_000 * 2 * 4),
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if device == "gpu":
        defaults["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
        # The encoders' float32 products in TF32, like their convolutions; see docs/guides/gpu.md.
        defaults["VLLM_FLOAT32_MATMUL_PRECISION"] = "high"
        # Makes CUDA number the GPUs as nvidia-smi does.
        defaults["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    env = {name: value for name, value in defaults.items() if name not in environ}
    env["VIBEVOICE_ENGINE_AUDIO_SECONDS"] = str(seconds)
    if settings.plugin == "native":
        env |= {"VLLM_PLUGINS": "vibevoice_asr", "VLLM_MEDIA_CONNECTOR": "vibevoice"}
        env["VIBEVOICE_PENALTIES"] = settings.penalties
    else:
        concurrency = str(settings.ffmpeg_max_concurrency)
        env |= {"VLLM_PLUGINS": "vibevoice", "VIBEVOICE_FFMPEG_MAX_CONCURRENCY": concurrency}
    if device == "cpu":
        env["VLLM_CPU_KVCACHE_SPACE"] = str(settings.cpu_kvcache_gib or 2)
    if settings.gpu:
        env["CUDA_VISIBLE_DEVICES"] = settings.gpu
    return env


def _switch(name: str, on: bool) -> str:
    return f"--{name}" if on else f"--no-{name}"


def _chat_template() -> Path:
    """This project's chat template, from the installed package or from the checkout."""
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
    """Arguments for our own plugin: pinned decoding and the scheduler for long recordings."""
    first_runner = device == "cpu" or environ.get("VLLM_USE_V2_MODEL_RUNNER") == "0"
    processor = "SegmentPenalty" if first_runner else "SegmentPenaltyV2"
    # Without the processor no request has penalties, including those of a run-batch file.
    processors = ["--logits-processors", f"vibevoice_vllm.segment_penalty:{processor}"]
    return [
        *(processors if settings.penalties == "on" else []),
        *("--middleware", "vibevoice_vllm.middleware.PinnedDecoding"),
        # Health checks and Prometheus send requests every few seconds.
        *("--disable-access-log-for-endpoints", "/health,/metrics"),
        *("--scheduler-cls", "vibevoice_vllm.scheduler.create_scheduler"),
        # It would take gigabytes of recordings; the encoder's own cache covers repeated audio.
        *("--mm-processor-cache-gb", "0"),
    ]
