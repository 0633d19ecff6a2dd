"""How one request wants its speech made: guidance, denoising steps, random numbers, length."""

import math
from dataclasses import dataclass

import torch

from vibevoice_tts.engine import InvalidRequest, SpeechRequest

MAX_STEPS = 100
"""Most denoising steps; the models were published with 5 to 20."""
MAX_CFG_SCALE = 10.0
"""Strongest guidance; the models were published with 1.3 to 1.5."""
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Sampling:
    """A request's own numbers, checked."""

    cfg_scale: float
    steps: int
    max_frames: int
    generator: torch.Generator
    """On the CPU, so that a seed means the same on every device."""

    @classmethod
    def of(
        cls, request: SpeechRequest, cfg_scale: float, steps: int, max_frames: int, frame: float
    ) -> "Sampling":
        """From a request and the engine's defaults; `frame` is the length of one in seconds.

        Raises:
            InvalidRequest: a number is out of its range.
        """
        cfg_scale = cfg_scale if request.cfg_scale is None else request.cfg_scale
        if not 1 <= cfg_scale <= MAX_CFG_SCALE:
            raise InvalidRequest(f"cfg_scale must be 1 to {MAX_CFG_SCALE:g}, and is {cfg_scale}.")
        steps = steps if request.steps is None else request.steps
        if not 1 <= steps <= MAX_STEPS:
            raise InvalidRequest(f"steps must be 1 to {MAX_STEPS}, and is {steps}.")
        if request.max_seconds is not None:
            if not request.max_seconds > 0:
                raise InvalidRequest(f"max_seconds must be above 0, and is {request.max_seconds}.")
            max_frames = min(max_frames, math.ceil(request.max_seconds / frame))
        generator = torch.Generator()
        if request.seed is None:
            generator.seed()
        elif 0 <= request.seed <= MAX_SEED:
            generator.manual_seed(request.seed)
        else:
            raise InvalidRequest(f"seed must be 0 to {MAX_SEED}, and is {request.seed}.")
        return cls(cfg_scale, steps, max_frames, generator)

    def noise(self, size: int) -> torch.Tensor:
        """What the next frame starts from, [size].

        Microsoft's code draws a second row for the branch without a text and does not use it; it
        is drawn here as well, so that a seed gives the same speech.
        """
        return torch.randn(2, size, generator=self.generator)[0]
