"""Model sizes from config.json, the plan for a GPU, and the page that shows it."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import finalize

import pytest
import torch
from scripts.write_plans import CARDS, table
from tests.support.original_layout import export_original
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModel, VibeVoiceAsrConfig, VibeVoiceAsrForConditionalGeneration
from vllm.config import VllmConfig
from vllm.config.compilation import CUDAGraphMode

from vibevoice_vllm.cpu import cpu_settings
from vibevoice_vllm.encoder import context_samples
from vibevoice_vllm.memory_plan import GIB, Card, DoesNotFit, MemoryPlan
from vibevoice_vllm.model_sizes import PUBLISHED, ModelSizes, linear_bits, model_sizes
from vibevoice_vllm.planner import CONTEXT_SAMPLES, ENCODER_WIDTHS, Planner, captured_sizes
from vibevoice_vllm.settings import LaunchSettings, PluginSettings

ROOT = Path(__file__).parents[2]
TINY = ROOT / "models" / "tiny-asr"
SIZES = model_sizes(PUBLISHED)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the shell that runs the tests are ignored."""
    for name in ("ASR_DTYPE", "BATCH_SIZE", "VIBEVOICE_ENCODER_DTYPE"):
        monkeypatch.delenv(name, raising=False)


def plan(gib: float, sizes: ModelSizes = SIZES, used: float = 0, **values: Any) -> MemoryPlan:
    settings = LaunchSettings(model_dir="m", **values)
    return Planner(sizes, Card.of(gib, used=used), settings, PluginSettings()).plan()


@pytest.fixture(scope="module")
def published() -> VibeVoiceAsrConfig:
    """transformers' config of the published model."""
    encoder = {"model_type": "vibevoice_acoustic_tokenizer_encoder"}
    text = {"model_type": "qwen2", "tie_word_embeddings": False}
    values: Any = {
        name: {**(text if name == "text_config" else encoder), **values}
        for name, values in PUBLISHED.items()
    }
    return VibeVoiceAsrConfig(**values)


def test_sizes_are_those_of_the_model(published: VibeVoiceAsrConfig) -> None:
    """Computed from config.json and built by transformers: 8,330,325,888 parameters, as in the
    published -HF checkpoint."""
    with torch.device("meta"):
        model = VibeVoiceAsrForConditionalGeneration(published)
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    linears = sum(n for name, n in counts.items() if re.search(r"layers\.\d+\..*_proj\.w", name))
    encoders = sum(n for name, n in counts.items() if "tokenizer_encoder" in name)
    assert SIZES.linears == linears
    assert SIZES.encoders == encoders
    assert SIZES.parameters == sum(counts.values()) == 8_330_325_888


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_sizes_of_both_layouts(layout: str, tmp_path: Path) -> None:
    """The embedded checkpoint has as many parameters as its file contains, in both layouts."""
    folder = TINY
    if layout == "original":
        folder = tmp_path / "original"
        export_original(TINY, folder)
    sizes = model_sizes(json.loads((folder / "config.json").read_text()))
    from safetensors import safe_open

    with safe_open(TINY / "model.safetensors", "pt") as file:
        stored = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert sizes.parameters == stored


class _LiveBytes(TorchDispatchMode):
    """Peak number of bytes of tensors that exist at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self._sizes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self._sizes:
                    self._sizes[key] = storage.nbytes()
                    finalize(storage, self._sizes.pop, key)
                    self.peak = max(self.peak, sum(self._sizes.values()))
        return result


@pytest.mark.parametrize("kind", ["acoustic", "semantic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_of_an_encoder(kind: str, dtype: torch.dtype, published: VibeVoiceAsrConfig) -> None:
    """On the meta device, transformers' encoder uses as much memory as planned for a window with
    its context: 1.30 GiB in float32, 0.65 in bfloat16."""
    config = getattr(published, f"{kind}_tokenizer_encoder_config")
    samples = 30 * 24_000 + CONTEXT_SAMPLES
    with torch.device("meta"):
        encoder: Any = AutoModel.from_config(config).to(dtype)
        audio = torch.empty(1, 1, samples, dtype=dtype)
    with torch.inference_mode(), _LiveBytes() as live:
        encoder(audio)
    planned = ENCODER_WIDTHS * SIZES.filters * samples * dtype.itemsize
    assert live.peak <= planned < 1.005 * live.peak
    expected = 1.30 if dtype == torch.float32 else 0.65
    assert live.peak / GIB == pytest.approx(expected, abs=0.005)


def test_context_of_a_window(published: VibeVoiceAsrConfig) -> None:
    """58 tokens, for both encoders."""
    encoders: Any = (
        published.acoustic_tokenizer_encoder_config,
        published.semantic_tokenizer_encoder_config,
    )
    for config in encoders:
        assert CONTEXT_SAMPLES - 3200 < context_samples(config) <= CONTEXT_SAMPLES


@pytest.mark.parametrize("sequences", [1, 4, 5, 8, 32, 64, 100, 128, 256, 300])
def test_captured_graphs(sequences: int) -> None:
    """The number is the same as with vLLM's own rule."""
    chosen: Any = SimpleNamespace(
        cudagraph_mode=CUDAGraphMode.FULL_AND_PIECEWISE,
        max_cudagraph_capture_size=None,
        cudagraph_capture_sizes=None,
        post_init_cudagraph_sizes=lambda: None,
    )
    config: Any = SimpleNamespace(
        model_config=SimpleNamespace(enforce_eager=False),
        compilation_config=chosen,
        uniform_decode_query_len=1,
        scheduler_config=SimpleNamespace(max_num_seqs=sequences, max_num_batched_tokens=8192),
        speculative_config=None,
        performance_mode="balanced",
        parallel_config=SimpleNamespace(tensor_parallel_size=1),
    )
    VllmConfig._set_cudagraph_sizes(config)
    assert captured_sizes(sequences) == len(chosen.cudagraph_capture_sizes)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.label)
def test_plan_adds_up(card: Any) -> None:
    """The parts add up to the share, which is less than the card, and the chosen values fit."""
    made = plan(card.gib, **card.settings)
    parts = made.weights + made.work + made.graphs + made.overhead + made.spare + made.cache
    assert parts == pytest.approx(made.share, abs=8)
    assert made.share < made.card.total
    assert made.margin >= 0.25 * GIB - made.token
    assert made.tokens >= made.sequences * 600


def test_page_shows_the_plan() -> None:
    """The table and the plan in docs/guides/gpu.md are what the code computes; `make settings`
    writes the table."""
    page = (ROOT / "docs" / "guides" / "gpu.md").read_text()
    assert table() in page
    assert f"[vibevoice-engine] {plan(24)}\n" in page


def test_encoders_follow_the_card() -> None:
    """The default is bfloat16 below 32 GB, such as an RTX 5090's 31.84 GiB, unless set
    otherwise."""
    assert [plan(gib).encoder_dtype for gib in (24, 30, 31.84, 48)] == [
        *["bfloat16"] * 2,
        *["float32"] * 2,
    ]
    told = PluginSettings(encoder_dtype="float32")
    settings = LaunchSettings(model_dir="m", quantization="fp8")
    assert Planner(SIZES, Card.of(24), settings, told).plan().encoder_dtype == "float32"


def test_what_is_set_stays() -> None:
    """Only open settings are chosen; vLLM can be left to choose the context."""
    values: Any = {"max_model_len": 40000, "max_num_batched_tokens": 3000, "max_num_seqs": 7}
    given = LaunchSettings(model_dir="m", **values)
    made = plan(80, **values)
    assert made.settings(given) == given
    assert plan(24, max_model_len=-1).settings(given).max_model_len == -1
    assert plan(24, max_model_len=-1).tokens > 65536


def test_conservative_set() -> None:
    """No graphs; 32768 tokens per step and 64 requests, if they fit."""
    made = plan(80, conservative=True)
    assert (made.batched, made.sequences, made.context, made.graphs) == (32768, 64, 65536, 0)
    assert plan(24, conservative=True).batched < 32768


def test_quantization_and_cache_make_it_smaller() -> None:
    """Only linear layers shrink, and int8_per_channel_weight_only does not affect ours."""
    plain = plan(48)
    assert plain.weights - plan(48, quantization="fp8").weights == SIZES.linears
    assert plan(48, quantization="int8_per_channel_weight_only").weights == plain.weights
    assert plan(48, kv_cache_dtype="fp8").token * 2 == plain.token == 57344
    awq = model_sizes({**PUBLISHED, "quantization_config": {"quant_method": "awq", "bits": 4}})
    assert plan(48, awq).weights == plan(48, quantization="mxfp4").weights
    assert linear_bits("mxfp4") == 4.25


def test_gpus_that_share_a_model() -> None:
    """Each GPU has its part of the language model, and complete encoders."""
    one, two = plan(48), plan(48, tensor_parallel_size=2)
    halved = (SIZES.linears + SIZES.rest) * 2 // 2
    assert one.weights - two.weights == halved
    assert two.token * 2 == one.token
    four, eight = (plan(48, tensor_parallel_size=count) for count in (4, 8))
    assert one.token == 4 * four.token == 4 * eight.token  # each has at least one of four heads


def test_prompts_that_are_not_read_in_parts() -> None:
    """A step must fit the longest request, or else vLLM does not start."""
    for gib in (24, 80):
        made = plan(gib, enable_chunked_prefill=False)
        assert made.batched == made.context
    assert plan(80, enable_chunked_prefill=False).context == 65536
    assert plan(80, enable_chunked_prefill=False, max_model_len=20000).batched == 20000


def test_a_card_that_is_shared_is_planned_to_the_byte() -> None:
    """The cache does not depend on what vLLM finds free; others keep their part."""
    made = plan(24, quantization="fp8", gpu_memory_reserved=5)
    assert made.shares_card
    assert made.share + 5 * GIB < made.card.total
    assert made.spare == 0.5 * GIB and "spare         0.50 GiB" in str(made)
    utilization = made.settings(LaunchSettings(model_dir="m")).gpu_memory_utilization or 0
    assert 0 <= made.share - utilization * made.card.total < 0.03 * GIB
    lower = plan(24, quantization="fp8", gpu_memory_reserved=5, gpu_memory_utilization=0.6)
    assert lower.share == int(lower.card.total * 0.6)


def test_others_have_what_is_left_to_them_and_no_more() -> None:
    """CUDA's own part of the card is not available to them."""
    assert plan(24, used=4.9, quantization="fp8", gpu_memory_reserved=5)
    with pytest.raises(DoesNotFit, match=r"other programs use 5\.2 GiB"):
        plan(24, used=5.2, quantization="fp8", gpu_memory_reserved=5)
    assert plan(80, used=5.5)
    with pytest.raises(DoesNotFit, match=r"other programs use 6\.0 GiB"):
        plan(80, used=6)


@pytest.mark.parametrize(
    ("gib", "values", "message"),
    [
        (12, {}, r"weights take 15\.5 .*--quantization mxfp4 \(\d+ tokens\).*gpu-12gb\.env"),
        (16, {}, r"--quantization fp8 \(49152 tokens\)\. docker/env/gpu-16gb\.env"),
        (12, {"quantization": "mxfp4", "max_model_len": 65536}, r"a shorter context; .*\(40960 "),
        (8, {"quantization": "mxfp4"}, r"A 16 GiB GPU would be large enough\."),
        (12, {}, r"weights take 15\.5 and working memory 1\.\d, which exceeds it\. "),
        (12, {"gpu_memory_reserved": 1}, r"--quantization mxfp4 \(\d+ tokens\)\.$"),
        (22.49, {"gpu_memory_reserved": 5}, r"fp8 \(\d+ tokens\)\. docker/env/gpu-24gb\.env"),
        (
            24,
            {"gpu_memory_reserved": 24},
            "leaves nothing of a GPU of 24 GiB for the engine: lower",
        ),
        (24, {"max_num_batched_tokens": 65536}, "help: leaving --max-num-batched-tokens to the pl"),
        (
            24,
            {"max_model_len": 65536, "max_num_batched_tokens": 65536, "max_num_seqs": 4},
            "leaving --max-model-len, --max-num-batched-tokens and --max-num-seqs to the plan",
        ),
        (12, {"max_model_len": 32768}, r"help: --quantization mxfp4 \(32768 tokens\)"),
        (24, {"gpu_memory_utilization": 0.99}, "lower --gpu-memory-utilization"),
        (24, {"used": 6}, r"other programs use 6\.0 GiB .*--gpu-memory-reserved 6"),
        (24, {"dtype": "float32"}, "weights take 29"),
    ],
)
def test_refusals_say_what_would_help(gib: float, values: dict[str, Any], message: str) -> None:
    """The message is one sentence that names the flag, the file, or the card."""
    with pytest.raises(DoesNotFit, match=message):
        plan(gib, **values)


def test_no_bfloat16() -> None:
    """Cards before Ampere."""
    old = Card.of(32, has_bfloat16=False)
    with pytest.raises(DoesNotFit, match="does not support bfloat16"):
        Planner(SIZES, old, LaunchSettings(model_dir="m"), PluginSettings()).plan()
    settings = LaunchSettings(model_dir="m", dtype="float16")
    small = Card.of(24, has_bfloat16=False)
    assert Planner(SIZES, small, settings, PluginSettings()).plan().encoder_dtype == "float16"


def test_longer_windows_take_more() -> None:
    """The encoder's peak grows with the window."""
    settings, card = LaunchSettings(model_dir="m"), Card.of(80)
    short, long = (
        Planner(SIZES, card, settings, PluginSettings(window_seconds=seconds)).plan()
        for seconds in (30, 120)
    )
    grown = ENCODER_WIDTHS * 32 * 4 * (120 * 24_000 + CONTEXT_SAMPLES)
    assert long.work > grown > short.work


def test_dtype_of_a_cpu_follows_the_model() -> None:
    """bfloat16 and a cache for the longest context for the 7B, float32 for the embedded one."""
    open_ = LaunchSettings(model_dir="m")
    large = cpu_settings(SIZES, open_, 64 * GIB)
    assert (large.dtype, large.cpu_kvcache_gib, large.max_model_len) == ("bfloat16", 4, 65536)
    tiny = model_sizes(json.loads((TINY / "config.json").read_text()))
    small = cpu_settings(tiny, open_, 4 * GIB + 1)
    assert (small.dtype, small.cpu_kvcache_gib, small.max_model_len) == ("float32", 2, 65536)
    told = LaunchSettings(model_dir="m", dtype="float32", max_model_len=1000, cpu_kvcache_gib=1)
    assert cpu_settings(SIZES, told, 64 * GIB) == told
    with pytest.raises(DoesNotFit, match=r"this machine has 16\.0 GiB of memory"):
        cpu_settings(SIZES, open_, 16 * GIB)
