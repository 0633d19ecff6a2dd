"""Model, card and settings → what fits: arithmetic alone, held by docs/gpu.md.

vLLM measures the same while it starts, and refuses when one request of the longest context does not
fit beside what it measured. This says so minutes earlier, and for cards that are not there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_vllm.memory_plan import GIB, Card, DoesNotFit, MemoryPlan
from vibevoice_vllm.model_sizes import ModelSizes, linear_bits
from vibevoice_vllm.settings import LaunchSettings, PluginSettings

MIB = 1 << 20
ENCODER_WIDTHS = 12.04
"""Peak of transformers' encoder at work, in tensors of its first stage [filters, samples]: measured
on the meta device, by tests/plugin/test_planner.py again. `encoder.encode` takes half of it; the
other half is left to cuDNN's workspaces, which only a GPU can show."""
CONTEXT_SAMPLES = 58 * 3200
"""Audio before a window that is encoded with it, in the published model."""
_UTILIZATION = 0.92
"""vLLM's own default of --gpu-memory-utilization (config/cache.py)."""
_SMALL_CARD = 30 * GIB
"""Below it, smaller than the cards sold as 32 GB, the encoders are in 16 bits unless told
otherwise."""
_CLIP_TOKENS = 600
"""A clip of 30 s with its prompt and transcript."""
_SPARE = 256 * MIB
"""Left over by a context that the plan chooses: vLLM refuses one that does not fit by a token."""
_LOGITS = 6
"""Float32 tensors of [requests, vocabulary]: logits, what the sampler makes of them, counts."""
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# Allowances: nobody has measured these with this model yet.
_CUDA_CONTEXT = 512 * MIB
"""Of each process on the card, outside of vLLM's share."""
_KERNELS = 512 * MIB
"""Loaded kernels, workspaces of cuBLAS and cuDNN, gaps."""
_GROUP_BUFFERS = 512 * MIB
"""Of NCCL and the all-reduce, where GPUs share a model."""
_GRAPH_POOL, _GRAPH = 128 * MIB, 16 * MIB
"""CUDA graphs: once, and for each size that is captured."""


def encoder_dtype(card: Card, plugin: PluginSettings) -> str:
    """The one that is set, else what suits the card."""
    if "encoder_dtype" in plugin.model_fields_set or card.total >= _SMALL_CARD:
        return plugin.encoder_dtype
    return "bfloat16" if card.has_bfloat16 else "float16"


def captured_sizes(sequences: int) -> int:
    """How many CUDA graphs vLLM captures for so many requests (0.32, config/vllm.py,
    `_set_cudagraph_sizes`)."""
    most = min(2 * sequences, 512)
    sizes = {1, 2, 4, sequences, *range(8, 256, 8), *range(256, 513, 16)}
    return sum(size <= most for size in sizes)


@dataclass(frozen=True)
class Planner:
    """What a plan is made from."""

    sizes: ModelSizes
    card: Card
    settings: LaunchSettings
    plugin: PluginSettings

    def plan(self) -> MemoryPlan:
        """The longest context, the longest steps and the most requests that fit, where the settings
        leave them open.

        Raises:
            DoesNotFit: nothing fits.
        """
        self._require_share()
        if found := self._first_that_fits():
            return found
        best = max((self.of(*choice) for choice in self._choices()), key=lambda plan: plan.margin)
        work = best.work + best.graphs + best.overhead + best.spare
        cache = (
            f"leaves {best.cache / GIB:.1f} for the cache, and a request of {best.needed} tokens "
            f"needs {best.needed * best.token / GIB:.1f}"
            if best.cache > 0
            else "is more than that"
        )
        raise DoesNotFit(
            f"the model does not fit {self.card.name}: of {best.share / GIB:.1f} GiB for the "
            f"engine weights take {best.weights / GIB:.1f} and work {work / GIB:.1f}, which "
            f"{cache}. {self._help()}"
        )

    def of(self, context: int, batched: int, sequences: int) -> MemoryPlan:
        """The plan for one choice, whether it fits or not."""
        sizes, settings, plugin = self.sizes, self.settings, self.plugin
        group, stages = settings.tensor_parallel_size, settings.pipeline_parallel_size
        precision = encoder_dtype(self.card, plugin)
        width = _BYTES.get(settings.dtype, 2)
        bits = linear_bits(settings.quantization) or sizes.linear_bits or 8 * width
        weights = sizes.linears * bits / 8 / group / stages + sizes.rest * width / group
        weights += sizes.encoders * _BYTES[precision]

        samples = int(plugin.window_seconds * SAMPLE_RATE) + CONTEXT_SAMPLES
        encoding = ENCODER_WIDTHS * sizes.filters * samples * _BYTES[precision]
        # gate and up, their product; input, residual, norm and output of a layer
        step = batched * width * (3 * sizes.intermediate / group + 4 * sizes.hidden)
        windows = min(-(-batched // plugin.window_tokens(sizes.hop)), sequences)
        held = 2 * batched * sizes.hidden * width + windows * samples * 4
        work = max(encoding, step) + held + _LOGITS * sequences * sizes.vocabulary * 4

        graphs = 0 if settings.eager_on_gpu else _GRAPH_POOL + _GRAPH * captured_sizes(sequences)
        overhead = _KERNELS + (_GROUP_BUFFERS if group * stages > 1 else 0)
        key_width = 1 if settings.kv_cache_dtype.startswith("fp8") else width
        token = sizes.layers * sizes.key_values * key_width // min(group, sizes.key_value_heads)
        spare = 2 * _SPARE if settings.gpu_memory_reserved else 0
        share = self._share()
        return MemoryPlan(
            card=self.card,
            share=share,
            weights=int(weights),
            work=int(work),
            graphs=graphs,
            overhead=overhead,
            spare=spare,
            cache=int(share - weights - work - graphs - overhead - spare),
            token=token // stages,
            context=context,
            batched=batched,
            sequences=sequences,
            encoder_dtype=precision,
            shares_card=settings.gpu_memory_reserved > 0,
        )

    def _choices(self) -> Iterator[tuple[int, int, int]]:
        """(context, tokens a step, requests) that the settings leave open, the best first."""
        given, conservative = self.settings, self.settings.conservative
        contexts = (65536, 49152, 40960, 32768, 16384)
        steps = (*((32768,) if conservative else ()), 8192, 4096, 2048)
        for many in ((64, 32) if conservative else (256, 128, 64, 32), (16, 8, 4)):
            for context in [given.max_model_len] if given.max_model_len else contexts:
                needed = given.tokens_a_step(context)
                yield from product(
                    [context],
                    [needed] if needed else steps,
                    [given.max_num_seqs] if given.max_num_seqs else many,
                )

    def _first_that_fits(self) -> MemoryPlan | None:
        given = self.settings
        for choice in self._choices():
            plan = self.of(*choice)
            clips = 0 if given.max_num_seqs else plan.sequences * _CLIP_TOKENS
            spare = 0 if given.max_model_len else _SPARE // plan.token
            if plan.tokens >= max(clips, plan.needed + spare):
                return plan
        return None

    def _share(self) -> int:
        """Bytes for the engine: its part of the card, less what is left to others."""
        settings, total = self.settings, self.card.total
        part = int(total * (settings.gpu_memory_utilization or _UTILIZATION))
        if not settings.gpu_memory_reserved:
            return part
        left = total - int(settings.gpu_memory_reserved * GIB) - _CUDA_CONTEXT
        return min(left, part) if settings.gpu_memory_utilization else left

    def _require_share(self) -> None:
        """
        Raises:
            DoesNotFit: the engine's part of the card is not free, or the card cannot compute it.
        """
        card, share = self.card, self._share()
        if not card.has_bfloat16 and self.settings.dtype in ("", "bfloat16"):
            raise DoesNotFit(
                f"{card.name} has no bfloat16, which the model was trained in: expected an Ampere "
                "GPU or a newer one. --dtype float16 would start, and was never tried."
            )
        if share <= 0:
            raise DoesNotFit(
                f"the {self.settings.gpu_memory_reserved:g} GiB that others are given leave "
                f"nothing of {card.name}: lower --gpu-memory-reserved."
            )
        if share + _CUDA_CONTEXT > card.total:
            raise DoesNotFit(
                f"{share / GIB:.1f} GiB for the engine leave less than {_CUDA_CONTEXT / GIB:g} GiB "
                f"of {card.name} to CUDA itself: lower --gpu-memory-utilization."
            )
        if card.used + _CUDA_CONTEXT > card.total - share:
            raise DoesNotFit(
                f"other programs have {card.used / GIB:.1f} GiB of {card.name}, and the engine is "
                f"to take {share / GIB:.1f} of {card.total / GIB:.1f} GiB: end them, or leave them "
                f"their part with --gpu-memory-reserved {-(-card.used // GIB)}."
            )

    def _help(self) -> str:
        """What would make it fit."""
        limits = ("max_model_len", "max_num_batched_tokens", "max_num_seqs")
        given = [name for name in limits if getattr(self.settings, name)]
        kept: dict[str, None] = {}
        left = dict.fromkeys(limits)
        for quantization in ("", "fp8", "mxfp4"):
            values = {"quantization": quantization} if quantization else {}
            for change in (kept, left):
                settings = self.settings.model_copy(update=values | change)
                if found := replace(self, settings=settings)._first_that_fits():
                    words = [f"--quantization {quantization}"] if quantization else []
                    words += [_left_open(given)] if change else []
                    tokens = found.context if found.context > 0 else found.tokens
                    file = _file(self.card, settings)
                    return f"What would help: {', '.join(words)} ({tokens} tokens).{file}"
        for gib in (16, 24, 32, 48, 80):
            card = Card.of(gib)
            if card.total > self.card.total and replace(self, card=card)._first_that_fits():
                return f"A GPU of {gib} GiB would do."
        return "No single GPU would do: --tensor-parallel-size splits the model."


def _left_open(given: list[str]) -> str:
    """What to do about limits that were set by hand."""
    if given == ["max_model_len"]:
        return "a shorter context; without --max-model-len the longest that fits is taken"
    *others, last = [f"--{name.replace('_', '-')}" for name in given]
    return f"leaving {' and '.join(filter(None, [', '.join(others), last]))} to the plan"


def _file(card: Card, settings: LaunchSettings) -> str:
    """Where settings for such a card are."""
    names = {13: "gpu-12gb.env", 17: "gpu-16gb.env", 25: "gpu-24gb-stt.env"}
    if settings.gpu_memory_reserved:
        names = {17: "", 25: "gpu-24gb.env"}
    name = next((name for gib, name in names.items() if card.total < gib * GIB), "")
    return f" docker/env/{name} is for such a card." if name else ""
