"""The interface between speech models and the worker that drives them.

A model generates speech for several requests at once, one step at a time. A request joins between
two steps; each step produces about one chunk for each request in flight; a request leaves when it
ends or fails, or when the worker cancels it. A model is only ever called from one thread.

    handle = model.join(request)      # rejects a bad request with SpeechRejected
    while not ended:
        for event in model.step():    # Prepared, Chunk or End, each with its handle
            ...
    model.leave(handle)               # only to stop early; after End it has left

This module imports neither torch nor transformers, so that the proxy can use its types.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, Protocol, Self

import numpy as np

from vibevoice_tts.models import MODELS, ModelCard, ModelConfig

Samples = np.ndarray
"""Mono audio, float32, shape (samples,), nominally within -1..1 (peaks may exceed it)."""


class SpeechError(Exception):
    """A request cannot be spoken; the message is safe to send to the client."""


class SpeechRejected(SpeechError):
    """The client must change the request: its text, an out-of-range number, too many speakers."""


class CannotClone(SpeechRejected):
    """The model does not support voices supplied with a request."""

    def __init__(self, name: str) -> None:
        """`name` is the model's name."""
        able = " or ".join(card.name for card in MODELS if card.clones)
        super().__init__(f"The model {name} cannot clone voices; {able} can.")


class UnknownVoice(SpeechRejected):
    """A name matches no voice, or more than one."""

    def __init__(self, name: str, known: tuple[str, ...], matches: tuple[str, ...] = ()) -> None:
        """`known`: all voices of the model. `matches`: the voices that the name matches."""
        self.name, self.known = name, known
        self.matches = matches
        fault = f"matches several voices ({', '.join(matches)})" if matches else "is unknown"
        super().__init__(f"Voice {name!r} {fault}. Voices: {', '.join(known) or 'none'}.")


class NotEnglish(SpeechRejected):
    """An English-only model cannot read the text or a part of it."""

    def __init__(self, card: ModelCard) -> None:
        """`card` is the model's card."""
        other = "".join(f"; the model {one.name} can" for one in MODELS if one.kind == card.behind)
        super().__init__(
            f"The model {card.name} cannot read part of the text: it only reads English in Latin "
            f"letters{other}."
        )


@dataclass(frozen=True)
class Turn:
    """What one speaker says without interruption; one line of text, already cleaned."""

    text: str
    voice: str = ""
    """A name among `SpeechModel.voices()`, an alias, a unique part of a name, or a key of
    `SpeechRequest.samples`; empty means the model's default voice."""


@dataclass(frozen=True)
class SpeechRequest:
    """One passage to speak. Fields that are None use the model's default."""

    turns: tuple[Turn, ...]
    """The turns in order, with at most `ModelCard.max_speakers` different voices."""
    _: KW_ONLY
    cfg_scale: float | None = None
    """Weight of the text condition in classifier-free guidance; ignored by models without it."""
    steps: int | None = None
    """Denoising steps of the diffusion head; ignored by models without one."""
    seed: int | None = None
    """The same seed and request produce the same audio; None picks a random seed."""
    samples: Mapping[str, Samples] = field(default_factory=dict)
    """Voices supplied with the request: name → recording, mono float32 at 24 kHz. Models whose
    `ModelCard.clones` is False reject them."""


@dataclass(frozen=True)
class Prepared:
    """The voices of a request are ready. Models that compute features of recordings send this once,
    before the first chunk."""

    handle: int
    _: KW_ONLY
    found: int
    """Voices whose features were cached."""
    computed: int
    """Voices whose features had to be computed."""
    seconds: float
    """Time that this took."""


@dataclass(frozen=True)
class Chunk:
    """The next audio of a request; its chunks joined in order are the whole speech."""

    handle: int
    samples: Samples


@dataclass(frozen=True)
class End:
    """The request is complete and has left; no more chunks follow."""

    handle: int
    reason: Literal["stop", "length"]
    """`stop`: the model ended the speech. `length`: the speech was cut at the runaway limit or at
    the end of the model's context."""
    seconds: float = 0.0
    """Time since the request joined; the worker fills it in."""


Event = Prepared | Chunk | End


class SpeechModel(Protocol):
    """A loaded model that can speak up to `ModelConfig.capacity` requests at the same time."""

    @property
    def card(self) -> ModelCard:
        """The model's row in the table."""
        ...

    @property
    def sample_rate(self) -> int:
        """Samples per second of every chunk."""
        ...

    @classmethod
    def load(cls, config: ModelConfig) -> Self:
        """Load the model of `config`, ready to speak; its folder exists."""
        ...

    def voices(self) -> tuple[str, ...]:
        """Names of the voices, sorted, without aliases."""
        ...

    def find_voice(self, name: str) -> str:
        """The voice for a name that a client sent: an alias, an exact name, or a unique part of a
        name in any case. The empty name means the default voice. Raises UnknownVoice."""
        ...

    def join(self, request: SpeechRequest) -> int:
        """Add a request and return its handle, which is unique among this model's requests.

        Prepares the voice and the text, so it may take a while; the request's first events come
        from the next `step`. Never called when the model is at capacity. Raises SpeechRejected.
        """
        ...

    def step(self) -> list[Event]:
        """Advance every request in flight by about one chunk and return the resulting events: an
        empty list if none is in flight.

        After an exception, the model can no longer serve the requests in flight: the worker must
        abandon them and restart.
        """
        ...

    def leave(self, handle: int) -> None:
        """Stop a request at once and free its resources; no effect if it has already finished."""
        ...
