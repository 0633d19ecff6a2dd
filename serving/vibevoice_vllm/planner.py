"""Computes what fits on a GPU from the model, the card, and the settings; see docs/guides/gpu.md.

vLLM measures the same while it starts, and fails if one request of the maximum length does not fit
in the memory that is left. The plan finds this out minutes earlier, and for other machines too.
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
"""Peak memory of transformers' encoder, in tensors of its first stage [filters, samples]: measured
on the meta device and checked by tests/plugin/test_planner.py. `encoder.encode` needs half of it;
the other half is left for cuDNN's workspaces, which can only be measured on a GPU."""
CONTEXT_SAMPLES = 58 * 3200
"""Context before a window that is encoded with it, in the published model."""
_UTILIZATION = 0.92
"""vLLM's own default of --gpu-memory-utilization (config/cache.py)."""
_SMALL_CARD = 30 * GIB
"""Below this size, the encoders default to 16 bits. Cards sold as 32 GB have slightly more."""
_CLIP_TOKENS = 600
"""A 30 s clip with its prompt and transcript."""
_SPARE = 256 * MIB
"""Tokens left free when the plan chooses the context: vLLM does not start if it is one token too
long."""
_LOGITS = 6
"""Number of float32 [requests, vocabulary] tensors: logits, the sampler's copies, and counts."""
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# Estimates: these have not been measured with this model yet.
_CUDA_CONTEXT = 512 * MIB
"""CUDA context of each process on the card, not counted in vLLM's share."""
_KERNELS = 512 * MIB
"""Loaded kernels, cuBLAS and cuDNN workspaces, and fragmentation."""
_GROUP_BUFFERS = 512 * MIB
"""Buffers of NCCL and all-reduce, if several GPUs share a model."""
_GRAPH_POOL, _GRAPH = 128 * MIB, 16 * MIB
"""CUDA graphs: a fixed part, and an amount for each captured size."""


def encoder_dtype(card: Card, plugin: PluginSettings) -> str:
    """The dtype from the settings, or else the one that suits the card."""
    if "encoder_dtype" in plugin.model_fields_set or card.total >= _SMALL_CARD:
        return plugin.encoder_dtype
    return "bfloat16" if card.has_bfloat16 else "float16"


def captured_sizes(sequences: int) -> int:
    """Number of CUDA graphs that vLLM captures for `sequences` requests (0.32, config/vllm.py,
    `_set_cudagraph_sizes`)."""
    most = min(2 * sequences, 512)
    sizes = {1, 2, 4, sequences, *range(8, 256, 8), *range(256, 513, 16)}
    return sum(size <= most for size in sizes)


@dataclass(frozen=True)
class Planner:
    """Plans the memory of one card for one model and one set of settings."""

    sizes: ModelSizes
    card: Card
    settings: LaunchSettings
    plugin: PluginSettings

    def plan(self) -> MemoryPlan:
        """Choose the longest context, the largest steps, and the most requests that fit, unless the
        settings specify them.

        Raises:
            DoesNotFit: no choice fits.
        """
        self._require_share()
        if found := self._first_that_fits():
            return found
        best = max((self.of(*choice) for choice in self._choices()), key=lambda plan: plan.margin)
        work = best.work + best.graphs + best.overhead + best.spare
        cache = (
            f"leaves {best.cache / GIB:.1f} for the cache, but a request of {best.needed} tokens "
            f"needs {best.needed * best.token / GIB:.1f}"
            if best.cache > 0
            else "exceeds it"
        )
        raise DoesNotFit(
            f"the model does not fit {self.card.name}: of {best.share / GIB:.1f} GiB for the "
            f"engine, weights take {best.weights / GIB:.1f} and working memory {work / GIB:.1f}, "
            f"which {cache}. {self._help()}"
        )

    def of(self, context: int, batched: int, sequences: int) -> MemoryPlan:
        """The plan for one choice, whether or not it fits."""
        sizes, settings, plugin = self.sizes, self.settings, self.plugin
        group, stages = settings.tensor_parallel_size, settings.pipeline_parallel_size
        precision = encoder_dtype(self.card, plugin)
        width = _BYTES.get(settings.dtype, 2)
        bits = linear_bits(settings.quantization) or sizes.linear_bits or 8 * width
        weights = sizes.linears * bits / 8 / group / stages + sizes.rest * width / group
        weights += sizes.encoders * _BYTES[precision]

        samples = int(plugin.window_seconds * SAMPLE_RATE) + CONTEXT_SAMPLES
        encoding = ENCODER_WIDTHS * sizes.filters * samples * _BYTES[precision]
        # gate, up, and their product; input, residual, norm, and output of a layer
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
        """(context, tokens per step, requests) to try where they are not set, best first."""
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
        """Bytes for the engine: its share of the card, minus the memory reserved for others."""
        settings, total = self.settings, self.card.total
        part = int(total * (settings.gpu_memory_utilization or _UTILIZATION))
        if not settings.gpu_memory_reserved:
            return part
        left = total - int(settings.gpu_memory_reserved * GIB) - _CUDA_CONTEXT
        return min(left, part) if settings.gpu_memory_utilization else left

    def _require_share(self) -> None:
        """
        Raises:
            DoesNotFit: the engine's share is not free, or the card cannot run the model.
        """
        card, share = self.card, self._share()
        if not card.has_bfloat16 and self.settings.dtype in ("", "bfloat16"):
            raise DoesNotFit(
                f"{card.name} does not support bfloat16, in which the model was trained: use an "
                "Ampere GPU or newer. --dtype float16 would start, but has never been tested."
            )
        if share <= 0:
            raise DoesNotFit(
                f"reserving {self.settings.gpu_memory_reserved:g} GiB leaves nothing of "
                f"{card.name} for the engine: lower --gpu-memory-reserved."
            )
        if share + _CUDA_CONTEXT > card.total:
            raise DoesNotFit(
                f"{share / GIB:.1f} GiB for the engine leaves less than {_CUDA_CONTEXT / GIB:g} "
                f"GiB of {card.name} for CUDA itself: lower --gpu-memory-utilization."
            )
        if card.used + _CUDA_CONTEXT > card.total - share:
            raise DoesNotFit(
                f"other programs use {card.used / GIB:.1f} GiB of {card.name}, and the engine "
                f"needs {share / GIB:.1f} of {card.total / GIB:.1f} GiB: stop them, or set "
                f"--gpu-memory-reserved {-(-card.used // GIB)}."
            )

    def _help(self) -> str:
        """Suggests changes that would make the model fit."""
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
                return f"A {gib} GiB GPU would be large enough."
        return "No single GPU is large enough: split the model with --tensor-parallel-size."


def _left_open(given: list[str]) -> str:
    """Suggestions for limits that were set by hand."""
    if given == ["max_model_len"]:
        return "a shorter context; without --max-model-len, the longest that fits is used"
    *others, last = [f"--{name.replace('_', '-')}" for name in given]
    return f"leaving {' and '.join(filter(None, [', '.join(others), last]))} to the plan"


def _file(card: Card, settings: LaunchSettings) -> str:
    """Points to a settings file for such a card, if there is one."""
    names = {13: "gpu-12gb.env", 17: "gpu-16gb.env", 25: "gpu-24gb-stt.env"}
    if settings.gpu_memory_reserved:
        names = {17: "", 25: "gpu-24gb.env"}
    name = next((name for gib, name in names.items() if card.total < gib * GIB), "")
    return f" docker/env/{name} is meant for this card." if name else ""
