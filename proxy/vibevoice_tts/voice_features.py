"""What the 1.5B model computes of the recordings of voices, each once."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from vibevoice_tts.engine import InvalidRequest, Samples
from vibevoice_tts.full_model import FullModel
from vibevoice_tts.recordings import check_sample, normalise, read_recording, trim
from vibevoice_tts.voices import Lru

VOICES_KEPT = 64
"""Voices whose features stay in memory; a voice of 15 s takes 30 KB at the published size."""


@dataclass(frozen=True)
class PreparedVoices:
    """The voices of one request."""

    latents: list[torch.Tensor]
    """Mean latents of each, [frames, latent]."""
    found: int
    """How many of them were there already."""
    computed: int
    """How many were not."""
    seconds: float
    """Time in which these were computed."""


class VoiceFeatures:
    """Features by the content of a recording, so that a voice is the same under any name."""

    def __init__(self, model: FullModel, files: Mapping[str, Path]) -> None:
        """`files` are the recordings of the voices that are always there, by name."""
        self._model, self._files = model, files
        self._recordings: Lru[Samples] = Lru(VOICES_KEPT)
        self._features: Lru[torch.Tensor] = Lru(VOICES_KEPT)

    def prepare(self, names: Sequence[str], samples: Mapping[str, Samples]) -> PreparedVoices:
        """The features of voices; `samples` came with the request.

        Raises:
            InvalidRequest: a sample cannot be cloned.
        """
        recordings = [self._recording(name, samples) for name in names]
        latents: list[torch.Tensor] = []
        spent: list[float] = []
        for recording in recordings:
            key = hashlib.sha256(recording.tobytes()).hexdigest()
            encode = partial(self._encode, recording, spent)
            latents.append(self._features.get(key, encode))
        placed = [latent.to(self._model.device) for latent in latents]
        return PreparedVoices(placed, len(placed) - len(spent), len(spent), sum(spent))

    def _recording(self, name: str, samples: Mapping[str, Samples]) -> Samples:
        if name in samples:
            try:
                return check_sample(np.asarray(samples[name], np.float32))
            except InvalidRequest as error:
                raise InvalidRequest(f"Voice {name!r}: {error}") from error
        return self._recordings.get(name, lambda: trim(read_recording(self._files[name])))

    def _encode(self, recording: Samples, spent: list[float]) -> torch.Tensor:
        """Features of a recording; the seconds that it took are added to `spent`."""
        started = perf_counter()
        # to the CPU: that waits for the result, and keeps no memory of a GPU
        features = self._model.encode_voice(torch.from_numpy(normalise(recording))).cpu()
        spent.append(perf_counter() - started)
        return features
