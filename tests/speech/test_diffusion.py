"""Denoising equals diffusers' solver with transformers' head, with less work per step."""

import pytest
import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from transformers.models.vibevoice.configuration_vibevoice import VibeVoiceDiffusionHeadConfig
from transformers.models.vibevoice.modeling_vibevoice import VibeVoiceDiffusionHead

from vibevoice_tts.engines.diffusion import Denoiser, solver_weights
from vibevoice_tts.engines.sampling import MAX_STEPS

LATENT, HIDDEN = 8, 32
STEPS = [1, 2, 3, 5, 10, 20, MAX_STEPS]


@pytest.fixture(scope="module")
def head() -> VibeVoiceDiffusionHead:
    config = VibeVoiceDiffusionHeadConfig(
        hidden_size=HIDDEN, latent_size=LATENT, num_hidden_layers=2, intermediate_size=64
    )
    torch.manual_seed(1)
    return VibeVoiceDiffusionHead(config).eval()


def theirs(
    head: VibeVoiceDiffusionHead,
    conditions: tuple[torch.Tensor, torch.Tensor],
    noise: torch.Tensor,
    scale: float,
    steps: int,
) -> torch.Tensor:
    """The loop of transformers 5.19 (models/vibevoice/generation_vibevoice.py)."""
    solver = scheduler()
    solver.set_timesteps(steps)
    latent = noise
    for time in solver.timesteps:
        times = time.to(noise).repeat(2 * len(noise))
        guided, free = head(torch.cat([latent, latent]), times, torch.cat(conditions)).chunk(2)
        velocity = free + scale * (guided - free)
        latent = solver.step(velocity, time, latent, return_dict=False)[0]
    return latent


def scheduler() -> DPMSolverMultistepScheduler:
    return DPMSolverMultistepScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"
    )


@pytest.mark.parametrize("steps", STEPS)
def test_weights_are_those_of_diffusers(steps: int) -> None:
    """For any velocities, intermediate and final latents agree to 1e-5 of the largest latent."""
    torch.manual_seed(steps)
    noise, *velocities = torch.randn(1 + steps, LATENT)
    times, weights = solver_weights(steps)
    solver = scheduler()
    solver.set_timesteps(steps)
    assert times.equal(solver.timesteps)
    latent, ours = noise, []
    expected = []
    for number, (time, velocity) in enumerate(zip(times, velocities, strict=True)):
        latent = solver.step(velocity, time, latent, return_dict=False)[0]
        expected.append(latent)
        made = torch.stack([noise, *velocities[: number + 1]])
        ours.append(weights[number, : number + 2] @ made)
        assert not weights[number, number + 2 :].any()  # later velocities have no weight
    difference = (torch.stack(ours) - torch.stack(expected)).abs().max() / latent.abs().max()
    print(f"{difference:.1e}")
    assert difference < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("steps", STEPS)
def test_latents_are_those_of_transformers(head: VibeVoiceDiffusionHead, steps: int) -> None:
    """Head, guidance and solver together give the same result."""
    positive, negative = torch.randn(2, 3, HIDDEN)
    noise = torch.randn(3, LATENT)
    made = Denoiser(head)(positive, negative, noise, cfg_scales=[1.5] * 3, steps=[steps] * 3)
    torch.testing.assert_close(
        made, theirs(head, (positive, negative), noise, 1.5, steps), atol=2e-5, rtol=2e-5
    )


@torch.inference_mode()
def test_every_row_has_its_own_steps_and_guidance(head: VibeVoiceDiffusionHead) -> None:
    """Results in a batch are the same as alone, including for a repeated combination."""
    positive, negative = torch.randn(2, 4, HIDDEN)
    noise = torch.randn(4, LATENT)
    scales, steps = [1.0, 1.3, 3.0, 1.5], [5, 10, 5, 2]
    denoise = Denoiser(head)
    first = denoise(positive, negative, noise, cfg_scales=scales, steps=steps)
    again = denoise(positive, negative, noise, cfg_scales=scales, steps=steps)
    assert again.equal(first)
    for row, (scale, count) in enumerate(zip(scales, steps, strict=True)):
        one = slice(row, row + 1)
        alone = theirs(head, (positive[one], negative[one]), noise[one], scale, count)
        torch.testing.assert_close(first[one], alone, atol=2e-5, rtol=2e-5)


@torch.inference_mode()
def test_half_precision_stays_near(head: VibeVoiceDiffusionHead) -> None:
    """With bfloat16, the solver itself still works in float32."""
    positive, negative = torch.randn(2, 3, HIDDEN)
    noise = torch.randn(3, LATENT)
    expected = theirs(head, (positive, negative), noise, 1.5, 10)
    half = VibeVoiceDiffusionHead(head.timestep_embedding.config).to(torch.bfloat16)
    half.load_state_dict(head.state_dict())
    half.timestep_embedding.float()
    made = Denoiser(half)(
        *(values.bfloat16() for values in (positive, negative, noise)),
        cfg_scales=[1.5] * 3,
        steps=[10] * 3,
    )
    assert made.dtype == torch.bfloat16
    assert (made.float() - expected).abs().max() < 0.05 * expected.abs().max()
