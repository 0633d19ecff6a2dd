"""Denoises acoustic latents for the rows of several requests at once.

Uses DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095) with the schedule that the published models
were trained with: cosine betas, v-prediction, 1000 steps (their diffusion_head_config). Every
intermediate latent is a weighted sum of the noise and the previous velocities. The weights depend
only on the number of steps; they are obtained by running diffusers' solver once for each number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from transformers.models.vibevoice.modeling_vibevoice import VibeVoiceDiffusionHead

from vibevoice_tts.engines.device import upload
from vibevoice_tts.engines.head import StepwiseHead
from vibevoice_tts.engines.lru import Lru

_CACHED_PLANS = 256
"""Combinations of requests whose parameters stay on the device; about 100 bytes per row."""


def solver_weights(steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The times of the steps, [steps], and the weights, [steps, 1 + steps], that the noise and each
    step's velocity have in the latent that each step leads to."""
    solver = DPMSolverMultistepScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"
    )
    solver.set_timesteps(steps)
    # The solver is linear: given unit vectors instead of latents, it returns their weights.
    latent, *velocities = torch.eye(1 + steps)
    weights = []
    for time, velocity in zip(solver.timesteps, velocities, strict=True):
        latent = solver.step(velocity, time, latent, return_dict=False)[0]
        weights.append(latent)
    return solver.timesteps, torch.stack(weights)


@dataclass(frozen=True)
class _Solver:
    """Solver constants for one number of steps, on the device."""

    times: torch.Tensor
    """Embedded times, [steps, hidden]."""
    weights: list[torch.Tensor]
    """Float32; [1, 1 + step] for each step, counted from 1."""


@dataclass(frozen=True)
class _Group:
    """Rows with the same number of steps, on the device."""

    steps: int
    rows: torch.Tensor
    """Row indices, [rows]."""
    scales: torch.Tensor
    """Guidance scales, [rows, 1]."""


class Denoiser:
    """Turns noise into latents with one diffusion head."""

    def __init__(self, head: VibeVoiceDiffusionHead) -> None:
        self._head = StepwiseHead(head)
        self._solvers: dict[int, _Solver] = {}
        self._plans: Lru[list[_Group]] = Lru(_CACHED_PLANS)

    def __call__(
        self,
        positive: torch.Tensor,
        negative: torch.Tensor,
        noise: torch.Tensor,
        *,
        cfg_scales: Sequence[float],
        steps: Sequence[int],
    ) -> torch.Tensor:
        """Denoise latents [rows, latent] from noise of that shape, guided by two conditions
        [rows, hidden]: one with the text and one without.

        `cfg_scales` and `steps` have one value per row. Rows with the same number of steps go
        through the head together.
        """
        key = (*cfg_scales, *steps)
        plan = self._plans.get(key, lambda: _plan(cfg_scales, steps, noise))
        if len(plan) == 1:
            return self._denoise(positive, negative, noise, plan[0])
        latents = torch.empty_like(noise)
        for group in plan:
            made = self._denoise(
                positive.index_select(0, group.rows),
                negative.index_select(0, group.rows),
                noise.index_select(0, group.rows),
                group,
            )
            latents.index_copy_(0, group.rows, made)
        return latents

    def _denoise(
        self, positive: torch.Tensor, negative: torch.Tensor, noise: torch.Tensor, group: _Group
    ) -> torch.Tensor:
        solver = self._solver(group.steps, noise)
        modulations = self._head.modulate(torch.cat([positive, negative]), solver.times)
        latent, made = noise, noise.float().view(1, -1)
        for weights, modulation in zip(solver.weights, modulations, strict=True):
            guided, free = self._head(torch.cat([latent, latent]), modulation).chunk(2)
            velocity = torch.lerp(free, guided, group.scales)
            made = torch.cat([made, velocity.view(1, -1)])
            latent = (weights @ made).view_as(noise).to(noise.dtype)
        return latent

    def _solver(self, steps: int, like: torch.Tensor) -> _Solver:
        """The solver for `steps` steps, with the dtype and device of `like`."""
        if steps not in self._solvers:
            times, weights = solver_weights(steps)
            known = upload(weights, like.device)
            self._solvers[steps] = _Solver(
                self._head.embed_times(upload(times.to(like.dtype), like.device)),
                [known[n : n + 1, : n + 2] for n in range(steps)],
            )
        return self._solvers[steps]


def _plan(cfg_scales: Sequence[float], steps: Sequence[int], like: torch.Tensor) -> list[_Group]:
    """The groups of rows that go through the head together, with dtype and device of `like`."""
    groups = []
    for count in sorted(set(steps)):
        rows = [row for row, wanted in enumerate(steps) if wanted == count]
        scales = torch.tensor([[cfg_scales[row]] for row in rows], dtype=like.dtype)
        groups.append(
            _Group(
                steps=count,
                rows=upload(torch.tensor(rows), like.device),
                scales=upload(scales, like.device),
            )
        )
    return groups
