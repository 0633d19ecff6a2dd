"""Denoising of acoustic latents, for the rows of several requests at once.

DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095) on the schedule that the published models were
trained with: cosine betas, v-prediction, 1000 steps (their diffusion_head_config).
"""

from collections.abc import Sequence

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler


class Denoiser:
    """Latents from noise by one diffusion head."""

    def __init__(self, head: torch.nn.Module) -> None:
        """`head` takes latents [rows, latent], times [rows] and conditions [rows, hidden]."""
        self._head = head
        self._schedulers: dict[int, DPMSolverMultistepScheduler] = {}

    def __call__(
        self,
        positive: torch.Tensor,
        negative: torch.Tensor,
        noise: torch.Tensor,
        *,
        cfg_scales: Sequence[float],
        steps: Sequence[int],
    ) -> torch.Tensor:
        """Latents [rows, latent] from noise of that shape, guided by two conditions
        [rows, hidden]: with the text, and without.

        `cfg_scales` and `steps` have a value for each row. Rows with the same number of steps go
        through the head together.
        """
        latents = torch.empty_like(noise)
        for count in set(steps):
            rows = [row for row, wanted in enumerate(steps) if wanted == count]
            scheduler = self._scheduler(count)
            condition = torch.cat([positive[rows], negative[rows]])
            scale = torch.tensor([cfg_scales[row] for row in rows]).to(noise)[:, None]
            latent = noise[rows]
            for step in scheduler.timesteps:
                times = step.to(noise).repeat(2 * len(rows))
                guided, free = self._head(torch.cat([latent, latent]), times, condition).chunk(2)
                velocity = free + scale * (guided - free)
                latent = scheduler.step(velocity, step, latent, return_dict=False)[0]
            latents[rows] = latent
        return latents

    def _scheduler(self, steps: int) -> DPMSolverMultistepScheduler:
        scheduler = self._schedulers.get(steps)
        if scheduler is None:
            scheduler = self._schedulers[steps] = DPMSolverMultistepScheduler(
                beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"
            )
        scheduler.set_timesteps(steps)  # drops the state of the previous call
        return scheduler
