"""All settings of the engine's start script and of the plugin, read from the environment."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.penalties import Switch

_PREFIX = "VIBEVOICE_"
LONGEST_CONTEXT = 65536
"""Tokens: enough for an hour of very dense speech and its transcript."""
_AUDIO_SECONDS = 61 * 60
"""Slightly more than an hour."""


def _named(name: str) -> Any:
    """A setting with an established name, which does not get our prefix."""
    return AliasChoices(name)


class LaunchSettings(BaseSettings):
    """Settings of the start script. The flag is the field's name with dashes. The environment
    variable is `VIBEVOICE_` + the name in capitals, unless the field specifies another name."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    model_dir: str = Field(default="", validation_alias=_named("MODEL_DIR"))
    """The served folder, a folder that contains VibeVoice-ASR, or a hub id, which is downloaded and
    prepared in models/."""
    plugin: Literal["native", "microsoft"] = "native"
    """Which vLLM plugin serves the model: native is this project's; microsoft is the `vllm_plugin`
    of the repository microsoft/VibeVoice, with the pinned penalties as vLLM's own parameters. The
    latter needs a separate Python (`python` or `conda_env`) with that plugin, a vLLM version that
    it supports, and ffmpeg."""
    device: Literal["auto", "gpu", "cpu"] = "auto"
    """Device for the engine: gpu, cpu, or auto, which selects gpu if nvidia-smi responds."""
    gpu: str = ""
    """Ids of the GPUs to use, such as 0 or 0,1; empty means the first ones."""
    host: str = Field(default="127.0.0.1", validation_alias=_named("ASR_HOST"))
    """Address on which the engine listens."""
    port: int = Field(default=8006, ge=1, le=65535, validation_alias=_named("ASR_PORT"))
    """Port on which the engine listens."""
    served_model_name: str = "vibevoice"
    """Name of the model in the API."""
    dtype: str = Field(default="", validation_alias=_named("ASR_DTYPE"))
    """Precision of the language model: bfloat16, float16, or float32. Empty means bfloat16, or
    float32 on a CPU for a model with less than a billion parameters."""
    quantization: str = ""
    """vLLM's quantization of the language model's linear layers while loading: fp8 for 8 bits,
    mxfp4 for 4; empty means none."""
    kv_cache_dtype: str = ""
    """Precision of the key-value cache, as vLLM names it; fp8 halves its size. Empty means the
    precision of the language model."""
    max_model_len: int | None = Field(default=None, ge=-1)
    """Maximum tokens of prompt and answer together; an hour of audio takes 27000, its transcript
    about 18000. Empty means 65536, or fewer if that does not fit the GPU; -1 means as many as fit,
    chosen by vLLM."""
    max_num_seqs: int | None = Field(default=None, ge=1, validation_alias=_named("BATCH_SIZE"))
    """Maximum requests in a batch. Empty means 256 on a GPU, or fewer if they do not fit, and 64 on
    a CPU or if the GPU's memory size is unknown."""
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    """Maximum tokens per step. Empty means 8192 on a GPU, or fewer if they do not fit, and 2048 on
    a CPU; without chunked prefill it means `max_model_len`."""
    penalties: Switch = "on"
    """Penalties for repeated words, on or off; requests cannot change them. They keep the model out
    of loops; their effect on the accuracy of real speech has not been measured
    (docs/background/decoding.md). If off, temperature 0 and the proxy's loop detection still
    apply. The proxy, LiteLLM, and the batch client read the same variable."""
    max_new_tokens: int = Field(default=32768, ge=1)
    """Maximum tokens of an answer; a request's max_tokens cannot exceed it."""
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1)
    """Share of the GPU's memory to use; empty means 0.92, or what `gpu_memory_reserved` leaves."""
    gpu_memory_reserved: float = Field(default=0.0, ge=0)
    """GiB of the GPU's memory reserved for other programs, such as the speech models. The cache
    then has its planned size instead of the memory that vLLM finds free, so the programs can start
    in any order."""
    gpu_memory: float | None = Field(default=None, gt=0)
    """The GPU's memory size in GiB for the memory plan, as shown by nvidia-smi; empty means that
    nvidia-smi is queried. With --dry-run, it can describe a GPU of another machine."""
    cpu_kvcache_gib: int | None = Field(
        default=None, ge=1, validation_alias=_named("VLLM_CPU_KVCACHE_SPACE")
    )
    """Size of the key-value cache on a CPU in GiB; empty means 2, or more if the longest context
    needs it."""
    conservative: bool = False
    """Use the slower defaults with which this model is commonly run on a GPU: no compilation, no
    CUDA graphs, TRITON_ATTN, 32768 tokens per step if they fit, and 64 requests. Settings that
    you set explicitly still apply. Microsoft's plugin always uses these defaults."""
    attention_backend: str = ""
    """vLLM's attention backend on a GPU; empty means vLLM's choice."""
    enforce_eager: bool | None = None
    """Disable compilation and CUDA graphs; empty means only on a CPU or if `conservative`."""
    stream_interval: int | None = Field(default=None, ge=1)
    """Tokens of a stream that the engine sends at once; empty means 4 on a GPU, and 1 on a CPU or
    with `conservative`."""
    enable_prefix_caching: bool = False
    """Enable vLLM's prefix cache; useful only if the same recording is sent repeatedly."""
    enable_chunked_prefill: bool = True
    """Process long prompts in parts, so that other requests decode in between."""
    trust_remote_code: bool | None = None
    """Run Python code from the model folder; empty means only for Microsoft's plugin, since the
    native one does not need it."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """Number of GPUs that share one copy of the model (tensor parallelism)."""
    pipeline_parallel_size: int = Field(default=1, ge=1)
    """Number of GPUs among which a copy's layers are divided (pipeline parallelism)."""
    data_parallel_size: int = Field(default=1, ge=1)
    """Number of copies of the model (data parallelism)."""
    chat_template: str = ""
    """Chat template file; empty means this project's."""
    max_audio_seconds: int = Field(
        default=_AUDIO_SECONDS, ge=1, validation_alias=_named("VIBEVOICE_ENGINE_AUDIO_SECONDS")
    )
    """Maximum length of a recording in seconds; its size before and after decoding is limited
    accordingly."""
    allowed_local_media_path: str = ""
    """Folder from which file:// audio may be read; empty means none."""
    ffmpeg_max_concurrency: int = Field(default=64, ge=1)
    """Number of recordings that Microsoft's plugin decodes at the same time; the native plugin
    ignores it."""
    python: str = ""
    """Python environment with vLLM: an interpreter, or a folder that contains bin/python. Empty
    means the interpreter that runs the script."""
    conda_env: str = ""
    """Name of a conda environment to use instead of `python`."""
    shutdown_timeout: int = Field(default=0, ge=0)
    """Seconds that the engine waits for its requests to finish when it is stopped; 0 means that it
    drops them."""
    wait_ready_secs: int | None = Field(default=None, ge=0)
    """Seconds until the engine must be healthy; 0 means no limit. Empty means 1800 on a GPU, where
    it loads 17 GB and compiles, and 120 on a CPU."""

    @field_validator("max_model_len")
    @classmethod
    def _some_tokens(cls, value: int | None) -> int | None:
        if value == 0:
            raise ValueError("Input should be a number of tokens, or -1 for as many as fit")
        return value

    @property
    def gpus(self) -> int:
        """How many GPUs the engine uses."""
        return self.tensor_parallel_size * self.pipeline_parallel_size * self.data_parallel_size

    def tokens_a_step(self, context: int | None) -> int | None:
        """Maximum tokens per step: the setting, or the whole prompt if chunked prefill is off, or
        else None.

        Args:
            context: maximum tokens of a request; None or -1 if it has not been chosen.
        """
        if self.max_num_batched_tokens or self.enable_chunked_prefill:
            return self.max_num_batched_tokens
        return context if context and context > 0 else LONGEST_CONTEXT

    @property
    def slow_on_gpu(self) -> bool:
        """Whether a GPU uses the conservative defaults. Only the native plugin has fast ones."""
        return self.conservative or self.plugin == "microsoft"

    @property
    def eager_on_gpu(self) -> bool:
        """Whether a GPU runs without CUDA graphs."""
        return self.slow_on_gpu if self.enforce_eager is None else self.enforce_eager


class PluginSettings(BaseSettings):
    """Settings of the plugin inside the engine; each of its processes reads them from the
    environment. The variable is `VIBEVOICE_` + the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_ignore_empty=True,
        frozen=True,
        use_attribute_docstrings=True,
    )

    engine_audio_seconds: float = Field(default=_AUDIO_SECONDS, gt=0)
    """Maximum length of a recording in seconds."""
    decode_timeout: float = Field(default=300.0, gt=0)
    """Time limit in seconds for decoding one recording; slower ones get 400."""
    window_seconds: float = Field(default=30.0, ge=1, le=120)
    """Seconds of audio encoded at once; other requests decode between two windows of a recording. A
    second takes 18 MB of memory in float32, 9 MB in 16 bits."""
    windows_per_step: int = Field(default=1, ge=1)
    """Windows encoded in one step of the engine, each from a different request; all other requests
    wait during that time."""
    encoder_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the encoders, independent of the language model's. On a GPU, float32 products
    are computed in TF32. For a GPU below 32 GB, the start script chooses 16 bits: bfloat16, or
    float16 if the GPU does not support bfloat16. If the GPU's size is unknown, it stays float32."""
    acoustic_noise: bool = False
    """Sample the acoustic latents as in training; the noise depends only on the recording."""
    warmer_limit: float = Field(default=0.6, ge=0.0, le=1.0)
    """Maximum temperature that the header `x-vibevoice-temperature` can set; 0 means that the
    header is ignored. The proxy raises the temperature up to 0.6 to get the model out of a loop;
    other clients do not send this header."""

    penalties: Switch = "on"
    """Penalties that the middleware sets for all requests: on or off. The start script sets this
    variable from its own setting of the same name."""

    def window_tokens(self, hop: int) -> int:
        """Number of audio tokens in a window, with `hop` samples per token at `SAMPLE_RATE`."""
        return max(1, int(self.window_seconds * SAMPLE_RATE) // hop)


def describe_launch_settings() -> list[tuple[str, str, str, str]]:
    """(flag, environment variable, default as a user would write it, description) of every setting
    of the start script."""
    return [
        (f"--{name.replace('_', '-')}", *described)
        for name, described in _described(LaunchSettings)
    ]


def describe_plugin_settings() -> list[tuple[str, str, str]]:
    """(environment variable, default as a user would write it, description) of every setting of the
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
