"""Every setting of the engine's start script and of the plugin, read from the environment."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.penalties import Switch

_PREFIX = "VIBEVOICE_"
LONGEST_CONTEXT = 65536
"""Tokens: an hour with the densest talk and its transcript."""
_AUDIO_SECONDS = 61 * 60
"""An hour and a bit."""


def _named(name: str) -> Any:
    """A setting that keeps a name in use elsewhere, without our prefix."""
    return AliasChoices(name)


class LaunchSettings(BaseSettings):
    """Settings of the start script. A flag is the field's name with dashes; the environment
    variable is `VIBEVOICE_` + the name in capitals, unless the field names another."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    model_dir: str = Field(default="", validation_alias=_named("MODEL_DIR"))
    """Served folder, a folder that holds VibeVoice-ASR, or a hub id (prepared into models/)."""
    plugin: Literal["native", "microsoft"] = "native"
    """Whose vLLM plugin serves the model: native is this project's, microsoft the `vllm_plugin` of
    the repository microsoft/VibeVoice, with the pinned penalties as vLLM's own parameters. The
    latter needs a Python of its own (`python` or `conda_env`) with that plugin, a vLLM that it
    supports, and ffmpeg."""
    device: Literal["auto", "gpu", "cpu"] = "auto"
    """Where the engine runs, gpu or cpu; auto is gpu if nvidia-smi answers."""
    gpu: str = ""
    """Ids of the GPUs to use, as in 0 or 0,1; empty means the first ones."""
    host: str = Field(default="127.0.0.1", validation_alias=_named("ASR_HOST"))
    """Address that the engine listens on."""
    port: int = Field(default=8006, ge=1, le=65535, validation_alias=_named("ASR_PORT"))
    """Port that the engine listens on."""
    served_model_name: str = "vibevoice"
    """Name of the model in the API."""
    dtype: str = Field(default="", validation_alias=_named("ASR_DTYPE"))
    """Precision of the language model: bfloat16, float16 or float32; empty means bfloat16, and
    float32 on a CPU for a model of under a billion parameters."""
    quantization: str = ""
    """How vLLM makes the language model's linear layers smaller while it loads: fp8 for 8 bits,
    mxfp4 for 4; empty means not."""
    kv_cache_dtype: str = ""
    """Precision of the key-value cache, as vLLM names it: fp8 halves it; empty means that of the
    language model."""
    max_model_len: int | None = Field(default=None, ge=-1)
    """Most tokens of prompt and answer together; an hour of audio is 27000, its transcript about
    18000. Empty means 65536, or fewer if that does not fit the GPU; -1 means that vLLM takes as
    many as fit."""
    max_num_seqs: int | None = Field(default=None, ge=1, validation_alias=_named("BATCH_SIZE"))
    """Most requests in a batch; empty means 256 on a GPU, or fewer if those do not fit, and 64 on a
    CPU or where the GPU's size is not known."""
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    """Most tokens in a step; empty means 8192 on a GPU, or fewer if those do not fit, and 2048 on a
    CPU; as many as `max_model_len` without chunked prefill."""
    penalties: Switch = "on"
    """Penalties on words that come again, on or off, whatever a request says. They keep the model
    out of loops; what they cost on real speech is unmeasured (docs/measurements.md, Penalties). Off
    leaves temperature 0 and the proxy's watch for loops. Proxy, LiteLLM and batch client read the
    same variable."""
    max_new_tokens: int = Field(default=32768, ge=1)
    """Most tokens of an answer, whatever max_tokens a request names."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of the GPU's memory to take; empty means 0.92, or what `gpu_memory_reserved` leaves."""
    gpu_memory_reserved: float = Field(default=0.0, ge=0)
    """GiB of the GPU that are left to other programs, such as the speech models. The size of the
    cache is then what the plan says, not what vLLM finds free, so that it does not matter which of
    them starts first."""
    gpu_memory: float | None = Field(default=None, gt=0)
    """GiB of the GPU, as nvidia-smi shows them, to plan with; empty means that nvidia-smi is asked.
    With --dry-run, for a GPU that is not there."""
    cpu_kvcache_gib: int | None = Field(
        default=None, ge=1, validation_alias=_named("VLLM_CPU_KVCACHE_SPACE")
    )
    """Memory for the key-value cache on a CPU, GiB; empty means 2, or what the longest context
    needs."""
    conservative: bool = False
    """The defaults of the source systems on a GPU, slower and in use with this model: no
    compilation and no CUDA graphs, TRITON_ATTN, 32768 tokens a step if they fit, 64 requests. What
    is set by hand stays. Microsoft's plugin always has them."""
    attention_backend: str = ""
    """vLLM's attention backend on a GPU; empty means that vLLM chooses."""
    enforce_eager: bool | None = None
    """No compilation and no CUDA graphs; empty means only on a CPU and with `conservative`."""
    stream_interval: int | None = Field(default=None, ge=1)
    """Tokens of a stream that the engine sends together; empty means 4 on a GPU, and 1 on a
    CPU and with `conservative`."""
    enable_prefix_caching: bool = False
    """Keep the cache of prompts: of use only where the same recording comes again."""
    enable_chunked_prefill: bool = True
    """Read long prompts in parts between which others decode."""
    trust_remote_code: bool | None = None
    """Run Python code from the model folder; empty means only for microsoft's plugin, since the
    native one needs none."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs that share one copy of the model."""
    pipeline_parallel_size: int = Field(default=1, ge=1)
    """GPUs that hold a copy's layers one after the other."""
    data_parallel_size: int = Field(default=1, ge=1)
    """Copies of the model."""
    chat_template: str = ""
    """File of the prompt template; empty means this project's."""
    max_audio_seconds: int = Field(
        default=_AUDIO_SECONDS, ge=1, validation_alias=_named("VIBEVOICE_ENGINE_AUDIO_SECONDS")
    )
    """Longest recording taken, seconds; its bytes before and after decoding are limited to fit."""
    allowed_local_media_path: str = ""
    """Folder below which file:// audio may be read; empty means none."""
    ffmpeg_max_concurrency: int = Field(default=64, ge=1)
    """Recordings that Microsoft's plugin decodes at the same time; the native one does not read
    this."""
    python: str = ""
    """Python that has vLLM: an interpreter, or a folder that holds bin/python; empty means the one
    that runs the script."""
    conda_env: str = ""
    """Name of a conda environment to take instead of `python`."""
    shutdown_timeout: int = Field(default=0, ge=0)
    """Seconds in which an engine that was told to stop finishes its requests; 0 means it drops
    them."""
    wait_ready_secs: int | None = Field(default=None, ge=0)
    """Seconds that the engine may take until it is healthy; 0 means without a limit, empty 1800 on
    a GPU, where it loads 17 GB and compiles, and 120 on a CPU."""

    @field_validator("max_model_len")
    @classmethod
    def _some_tokens(cls, value: int | None) -> int | None:
        if value == 0:
            raise ValueError("Input should be a number of tokens, or -1 for as many as fit")
        return value

    @property
    def gpus(self) -> int:
        """How many the engine uses."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    def tokens_a_step(self, context: int | None) -> int | None:
        """Most tokens of a step: as set, or for the whole prompt where it may not be read in parts;
        else None.

        Args:
            context: most tokens of a request; None or -1 where nobody has chosen.
        """
        if self.max_num_batched_tokens or self.enable_chunked_prefill:
            return self.max_num_batched_tokens
        return context if context and context > 0 else LONGEST_CONTEXT

    @property
    def slow_on_gpu(self) -> bool:
        """Whether a GPU has the conservative defaults; the fast ones are for the native plugin."""
        return self.conservative or self.plugin == "microsoft"

    @property
    def eager_on_gpu(self) -> bool:
        """Whether a GPU runs without CUDA graphs."""
        return self.slow_on_gpu if self.enforce_eager is None else self.enforce_eager


class PluginSettings(BaseSettings):
    """Settings of the plugin in the engine, of which every process reads the same environment. The
    variable is `VIBEVOICE_` + the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        use_attribute_docstrings=True,
    )

    engine_audio_seconds: float = Field(default=_AUDIO_SECONDS, gt=0)
    """Longest recording taken, seconds."""
    decode_timeout: float = Field(default=300.0, gt=0)
    """Seconds that decoding one recording may take; 400 above."""
    window_seconds: float = Field(default=30.0, ge=1, le=120)
    """Audio encoded at once, seconds: between two windows of a recording other requests decode. A
    second takes 18 MB of memory in float32, 9 MB in 16 bits."""
    windows_per_step: int = Field(default=1, ge=1)
    """Windows encoded in one step of the engine, each of another request: all others wait for
    them."""
    encoder_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the encoders, whatever that of the language model. On a GPU float32 multiplies
    in TF32; the start script chooses 16 bits for a GPU below 32 GB: bfloat16, or float16 where the
    GPU has no bfloat16. It stays float32 where the GPU's size is not known."""
    acoustic_noise: bool = False
    """Sample the acoustic latents as in training. The noise depends on the recording alone."""
    warmer_limit: float = Field(default=0.6, ge=0.0, le=1.0)
    """Highest temperature that the header `x-vibevoice-temperature` can set; 0 means that it is
    ignored. The proxy goes up to 0.6 to bring the model out of a loop; nothing else sends the
    header."""

    penalties: Switch = "on"
    """What the middleware pins; the start script sets it by its own setting of this name."""

    def window_tokens(self, hop: int) -> int:
        """Audio tokens of a window, for an encoder of `hop` samples a token at `SAMPLE_RATE`."""
        return max(1, int(self.window_seconds * SAMPLE_RATE) // hop)


def describe_launch_settings() -> list[tuple[str, str, str, str]]:
    """(flag, environment variable, default as one would write it, description) of every setting of
    the start script."""
    return [
        (f"--{name.replace('_', '-')}", *described)
        for name, described in _described(LaunchSettings)
    ]


def describe_plugin_settings() -> list[tuple[str, str, str]]:
    """(environment variable, default as one would write it, description) of every setting of the
    plugin."""
    return [described for _, described in _described(PluginSettings)]


def _described(settings: type[BaseSettings]) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for name, field in settings.model_fields.items():
        yield name, (_variable(name, field), _written(field.default), field.description or "")


def _variable(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"{_PREFIX}{name.upper()}"


def _written(default: Any) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
