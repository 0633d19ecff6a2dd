"""Cached encoder features of reference voices (1.5B model)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from vibevoice_tts.engines.longform_model import LongformModel
from vibevoice_tts.engines.lru import Lru
from vibevoice_tts.reference_audio import check_sample, normalize, read_recording, trim
from vibevoice_tts.speech_model import Prepared, Samples, SpeechRejected

CACHED_VOICES = 64
"""Number of voices whose features stay in memory; 15 s takes 30 KB at the published size."""


@dataclass(frozen=True, kw_only=True)
class PreparedVoices:
    """The voices of one request."""

    latents: list[torch.Tensor]
    """Mean latents of each voice, [frames, latent]."""
    found: int
    """How many of them were cached."""
    computed: int
    """How many of them had to be computed."""
    seconds: float
    """Time that this took."""

    def event(self, handle: int) -> Prepared:
        """The event that reports these voices for the request `handle`."""
        return Prepared(handle, found=self.found, computed=self.computed, seconds=self.seconds)


class VoiceFeatures:
    """Caches features by the content of a recording, so the name of a voice does not matter."""

    def __init__(self, model: LongformModel, files: Mapping[str, Path]) -> None:
        """`files`: recordings of the model's own voices, by name."""
        self._model, self._files = model, files
        self._recordings: Lru[Samples] = Lru(CACHED_VOICES)
        self._features: Lru[torch.Tensor] = Lru(CACHED_VOICES)

    def prepare(self, names: Sequence[str], samples: Mapping[str, Samples]) -> PreparedVoices:
        """The features of voices; `samples`: recordings supplied with the request.

        Raises:
            SpeechRejected: a sample cannot be cloned.
        """
        recordings = [self._recording(name, samples) for name in names]
        latents: list[torch.Tensor] = []
        spent: list[float] = []
        for recording in recordings:
            key = hashlib.sha256(recording.tobytes()).hexdigest()
            encode = partial(self._encode, recording, spent)
            latents.append(self._features.get(key, encode))
        return PreparedVoices(
            latents=[latent.to(self._model.device) for latent in latents],
            found=len(latents) - len(spent),
            computed=len(spent),
            seconds=sum(spent),
        )

    def _recording(self, name: str, samples: Mapping[str, Samples]) -> Samples:
        if name in samples:
            try:
                return check_sample(np.asarray(samples[name], np.float32))
            except SpeechRejected as error:
                raise SpeechRejected(f"Voice {name!r}: {error}") from error
        return self._recordings.get(name, lambda: trim(read_recording(self._files[name])))

    def _encode(self, recording: Samples, spent: list[float]) -> torch.Tensor:
        """Features of a recording, [frames, latent]; appends the seconds taken to `spent`."""
        started = perf_counter()
        # Moving the result to the CPU waits for it and takes no GPU memory.
        features = self._model.encode_voice(torch.from_numpy(normalize(recording))).cpu()
        spent.append(perf_counter() - started)
        return features
