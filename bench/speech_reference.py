"""Times Microsoft's Realtime code for `bench.speech`, in a separate environment.

Takes the parameters as JSON and prints a list of timings as JSON. Uses only Microsoft's package and
transformers 4.51, so it runs without this project's packages.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import copy
import itertools
import json
import sys
import time
from types import SimpleNamespace
from typing import Any

import torch
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast
from vibevoice.modular import (
    VibeVoiceStreamingConfig,
    VibeVoiceStreamingForConditionalGenerationInference,
)

BLOCK = 2**20
INITIALIZERS = ("kaiming_uniform_", "normal_", "uniform_", "trunc_normal_", "xavier_uniform_")
"""Functions of torch.nn.init that are skipped, since `build` fills in the weights."""


class Enough(Exception):
    """The requested number of frames has been produced."""


class Clock:
    """An audio streamer for Microsoft's code that records the time of every chunk."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self.times: list[float] = []
        self.processor: list[float] = []

    def put(self, chunks: torch.Tensor, _: torch.Tensor) -> None:
        chunks.float().cpu()
        self.times.append(time.perf_counter())
        self.processor.append(time.process_time())
        if len(self.times) > self._frames:
            raise Enough

    def end(self, *_: Any) -> None:
        """Part of the streamer interface."""


def build(asked: dict[str, Any]) -> Any:
    """The model with random weights, whose speech never ends."""
    for name in INITIALIZERS:
        setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
    config = VibeVoiceStreamingConfig(**asked["config"], torch_dtype=asked["dtype"])
    torch.set_default_dtype(getattr(torch, asked["dtype"]))
    model: Any = VibeVoiceStreamingForConditionalGenerationInference(config)
    torch.set_default_dtype(torch.float32)
    model = model.to(asked["device"]).eval()
    noise = torch.empty(BLOCK).uniform_(-0.02, 0.02).to(asked["device"])
    for name, weight in itertools.chain(model.named_parameters(), model.named_buffers()):
        if "inv_freq" in name:
            continue
        if weight.ndim < 2:
            weight.data.fill_(1.0 if "norm" in name or "scaling" in name else 0.0)
            continue
        for part in weight.data.view(-1).split(BLOCK):
            part.copy_(noise[: part.numel()])
    model.tts_eos_classifier.fc2.bias.data.fill_(-100.0)
    model.set_ddpm_inference_steps(asked["steps"])
    return model


def output(model: Any, layers: int, positions: int) -> BaseModelOutputWithPast:
    """The output of a decoder with `layers` layers after `positions` positions."""
    config = model.config.decoder_config
    size = config.hidden_size // config.num_attention_heads
    cache = DynamicCache()
    for layer in range(layers):
        shape = 1, config.num_key_value_heads, positions, size
        pair = torch.randn(2, *shape).to(model.device, model.dtype) / 10
        cache.update(pair[0], pair[1], layer)
    states: Any = torch.randn(1, positions, config.hidden_size).to(model.device, model.dtype) / 10
    return BaseModelOutputWithPast(last_hidden_state=states, past_key_values=cache)


def run(model: Any, asked: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
    """The fields of a `bench.speech.Timing`."""
    lower, upper = asked["positions"]
    clock = Clock(asked["frames"])
    ids = torch.randint(0, 256, (1, asked["tokens"]))
    preset = copy.deepcopy(preset)
    special = SimpleNamespace(
        convert_tokens_to_ids=lambda _: 3,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0),
        **dict.fromkeys(("speech_start_id", "speech_end_id", "speech_diffusion_id"), 1),
    )
    started = time.perf_counter()
    try:
        model.generate(
            input_ids=torch.zeros(1, lower, dtype=torch.long, device=model.device),
            attention_mask=torch.ones(1, lower, dtype=torch.long, device=model.device),
            tts_lm_input_ids=torch.zeros(1, upper, dtype=torch.long, device=model.device),
            tts_lm_attention_mask=torch.ones(1, upper, dtype=torch.long, device=model.device),
            tts_text_ids=ids,
            all_prefilled_outputs=preset,
            cfg_scale=asked["cfg_scale"],
            tokenizer=special,
            audio_streamer=clock,
            show_progress_bar=False,
        )
    except Enough:
        pass
    frames = [after - before for before, after in itertools.pairwise(clock.times)]
    return {
        "first": clock.times[0] - started,
        "frames": frames,
        "processor": (clock.processor[-1] - clock.processor[0]) / len(frames),
    }


def main() -> None:
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(asked["threads"])
    model = build(asked)
    layers, upper = (
        model.config.decoder_config.num_hidden_layers,
        model.config.tts_backbone_num_hidden_layers,
    )
    preset = {
        "lm": output(model, layers - upper, asked["positions"][0]),
        "tts_lm": output(model, upper, asked["positions"][1]),
        "neg_lm": output(model, layers - upper, 1),
        "neg_tts_lm": output(model, upper, 1),
    }
    run(model, {**asked, "frames": 1}, preset)  # warm-up
    print(json.dumps([run(model, asked, preset) for _ in range(asked["rounds"])]))


if __name__ == "__main__":
    main()
