"""Compares the tokens that an engine chose with transformers' own VibeVoice-ASR.

    python -m bench.asr_reference ASKED.json

ASKED.json contains the checkpoint's folder (transformers' layout), the precision, and the cases:
WAV file, ids of prompt and answer, and the engine's log-probabilities. Every answer is evaluated in
one pass (teacher forcing), so one near tie does not affect the tokens after it. Prints a
`Comparison` per case as JSON. `bench.true_size` runs it after the engine has exited, since they do
not fit in memory together.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import (
    VibeVoiceAcousticTokenizerFeatureExtractor,
    VibeVoiceAsrConfig,
    VibeVoiceAsrForConditionalGeneration,
)

from bench.comparison import NEAR, Comparison
from vibevoice_core.audio import SAMPLE_RATE


class Reference:
    """transformers' model, without noise on the acoustic latents."""

    def __init__(self, folder: str, dtype: str) -> None:
        config: Any = VibeVoiceAsrConfig.from_pretrained(folder)
        config.acoustic_tokenizer_encoder_config.vae_std = 0.0
        classes: Any = VibeVoiceAsrForConditionalGeneration
        precision = getattr(torch, dtype)
        self._model = classes.from_pretrained(folder, config=config, dtype=precision).eval()
        self._dtype = precision
        self._extract: Any = VibeVoiceAcousticTokenizerFeatureExtractor()

    @torch.inference_mode()
    def log_probabilities(
        self, samples: np.ndarray, prompt: list[int], answer: list[int]
    ) -> torch.Tensor:
        """For every vocabulary token at each position of `answer`: (tokens, vocabulary) float32.

        Args:
            samples: (samples,) float32 at 24 kHz.
        """
        features = self._extract([samples], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        ids = torch.tensor([prompt + answer[:-1]])
        output = self._model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            input_values=features["input_values"].to(self._dtype),
            padding_mask=features["padding_mask"],
            logits_to_keep=len(answer),
        )
        return output.logits[0].float().log_softmax(-1)


def compare(reference: Reference, case: dict[str, Any]) -> Comparison:
    """Compare an engine's answer to one recording with the reference."""
    started = time.monotonic()
    samples, rate = soundfile.read(case["audio"], dtype="float32")
    assert rate == SAMPLE_RATE
    prompt, answer = case["prompt"], case["answer"]
    expected = reference.log_probabilities(samples, prompt, answer)
    chosen = torch.tensor(answer)[:, None]
    behind = expected.max(-1).values - expected.gather(-1, chosen)[:, 0]
    same = expected.argmax(-1) == chosen[:, 0]
    given = [torch.tensor(list(place.values())) for place in case["top"]]
    places = [torch.tensor([int(token) for token in place]) for place in case["top"]]

    def difference(other: torch.Tensor) -> torch.Tensor:
        rows = zip(other, places, given, strict=True)
        return torch.cat([(row[place] - own).abs() for row, place, own in rows])

    other_audio = None
    if case["backwards"]:
        backwards = reference.log_probabilities(samples[::-1].copy(), prompt, answer)
        other_audio = float(difference(backwards).mean())
    differences = difference(expected)
    return Comparison(
        tokens=len(answer),
        same=int(same.sum()),
        ties=int((~same & (behind <= NEAR)).sum()),
        behind=float(behind.max()),
        difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        other_audio=other_audio,
        seconds=time.monotonic() - started,
    )


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text())
    reference = Reference(asked["folder"], asked["dtype"])
    print(json.dumps([asdict(compare(reference, case)) for case in asked["cases"]]))


if __name__ == "__main__":
    main()
