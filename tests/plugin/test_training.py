"""The encoder that trains the embedded checkpoint."""

import torch
from training.tiny_asr.encoder import encoded
from training.tiny_asr.model import make_config, make_model, make_tokenizer


def test_training_computes_the_encoders_of_transformers() -> None:
    """The faster implementation gives the same outputs, from the first sample on, and the same
    gradients as transformers' own encoders."""
    torch.manual_seed(0)
    model = make_model(make_config(make_tokenizer()))
    audio = 0.1 * torch.randn(2, 3200 * 7)
    for encoder in (model.model.acoustic_tokenizer_encoder, model.model.semantic_tokenizer_encoder):
        weight = encoder.stem.conv.conv.weight
        theirs, ours = encoder(audio[:, None]).latents, encoded(encoder, audio)[-1]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        gradients = [torch.autograd.grad(x.square().mean(), weight)[0] for x in (theirs, ours)]
        torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-3)
