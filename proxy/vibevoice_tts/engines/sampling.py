"""Sampling parameters of a request: guidance, denoising steps, random generator, maximum length."""

from dataclasses import dataclass
from typing import Self

import torch

from vibevoice_tts.speech_model import SpeechRejected, SpeechRequest

MAX_STEPS = 100
"""Maximum denoising steps; the models were published with 5 to 20."""
MAX_CFG_SCALE = 10.0
"""Maximum guidance scale; the models were published with 1.3 to 1.5."""
MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Validated sampling parameters of one request."""

    cfg_scale: float
    steps: int
    max_frames: int
    """Number of frames at which the request counts as runaway and is cut."""
    generator: torch.Generator
    """On the CPU, so that a seed gives the same numbers on every device."""

    @classmethod
    def of(cls, request: SpeechRequest, *, cfg_scale: float, steps: int, max_frames: int) -> Self:
        """Build from a request; `cfg_scale` and `steps` are the model's defaults.

        Raises:
            SpeechRejected: a number is out of range.
        """
        cfg_scale = cfg_scale if request.cfg_scale is None else request.cfg_scale
        if not 1 <= cfg_scale <= MAX_CFG_SCALE:
            raise SpeechRejected(f"cfg_scale must be 1 to {MAX_CFG_SCALE:g}, but is {cfg_scale}.")
        steps = steps if request.steps is None else request.steps
        if not 1 <= steps <= MAX_STEPS:
            raise SpeechRejected(f"steps must be 1 to {MAX_STEPS}, but is {steps}.")
        generator = torch.Generator()
        if request.seed is None:
            generator.seed()
        elif 0 <= request.seed <= MAX_SEED:
            generator.manual_seed(request.seed)
        else:
            raise SpeechRejected(f"seed must be 0 to {MAX_SEED}, but is {request.seed}.")
        return cls(cfg_scale=cfg_scale, steps=steps, max_frames=max_frames, generator=generator)

    def noise(self, size: int) -> torch.Tensor:
        """The noise of the next frame, [size].

        Microsoft's code draws a second row for the branch without text but does not use it; this
        code draws it too, so that a seed gives the same speech.
        """
        return torch.randn(2, size, generator=self.generator)[0]
