"""What every speech model offers to the worker that drives it.

A model makes speech for several requests at once, one step at a time. A request joins between two
steps, every step makes about one chunk for each request in flight, and a request leaves at its end,
at an error, or when the worker no longer wants it. One thread calls a model, never two.

    handle = model.join(request)      # refuses a bad request with SpeechRejected
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
    """A request that cannot be spoken; the message is fit for the client."""


class SpeechRejected(SpeechError):
    """The client must change the request: its text, a number out of range, too many speakers."""


class CannotClone(SpeechRejected):
    """The model does not take voices that come with a request."""

    def __init__(self, name: str) -> None:
        """`name` is the model's."""
        able = " or ".join(card.name for card in MODELS if card.clones)
        super().__init__(f"The model {name} cannot clone voices; {able} can.")


class UnknownVoice(SpeechRejected):
    """A name fits no voice, or more than one."""

    def __init__(self, name: str, known: tuple[str, ...], matches: tuple[str, ...] = ()) -> None:
        """`known` are all voices of the model, `matches` those that the name fits."""
        self.name, self.known = name, known
        self.matches = matches
        fault = f"fits several voices ({', '.join(matches)})" if matches else "is not known"
        super().__init__(f"Voice {name!r} {fault}. Voices: {', '.join(known) or 'none'}.")


class NotEnglish(SpeechRejected):
    """A text, or a part of one, that a model for English cannot read."""

    def __init__(self, card: ModelCard) -> None:
        """`card` is the model's."""
        other = "".join(f"; the model {one.name} can" for one in MODELS if one.kind == card.behind)
        super().__init__(
            f"The model {card.name} cannot read a part of the text: it reads English, in Latin "
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
    """One passage to speak. Fields that are None take the model's own default."""

    turns: tuple[Turn, ...]
    """What is said, in order; with at most `ModelCard.max_speakers` different voices."""
    _: KW_ONLY
    cfg_scale: float | None = None
    """Weight of the text condition in classifier-free guidance; ignored by models without one."""
    steps: int | None = None
    """Denoising steps of the diffusion head; ignored by models without one."""
    seed: int | None = None
    """The same seed and the same request give the same audio; None draws a seed."""
    samples: Mapping[str, Samples] = field(default_factory=dict)
    """Voices that came with the request: name → recording, mono float32 at 24 kHz. Models with
    `ModelCard.clones` False refuse them."""


@dataclass(frozen=True)
class Prepared:
    """The voices of a request are ready; comes once, before its first chunk, from models that
    compute features of recordings."""

    handle: int
    _: KW_ONLY
    found: int
    """Voices whose features were computed before."""
    computed: int
    """Voices whose features were computed now."""
    seconds: float
    """Time that this took."""


@dataclass(frozen=True)
class Chunk:
    """The next audio of a request; chunks joined in order are the whole."""

    handle: int
    samples: Samples


@dataclass(frozen=True)
class End:
    """The request is complete and has left; no more chunks come."""

    handle: int
    reason: Literal["stop", "length"]
    """`stop`: the model ended by itself. `length`: cut at the limit for runaway speech or at the
    end of the model's context."""
    seconds: float = 0.0
    """Time since the request joined; the worker fills it in."""


Event = Prepared | Chunk | End


class SpeechModel(Protocol):
    """A loaded model that speaks up to `ModelConfig.capacity` requests at the same time."""

    @property
    def card(self) -> ModelCard:
        """The model's row of the table."""
        ...

    @property
    def sample_rate(self) -> int:
        """Samples a second of every chunk."""
        ...

    @classmethod
    def load(cls, config: ModelConfig) -> Self:
        """The model of `config`, ready to speak; its folder exists."""
        ...

    def voices(self) -> tuple[str, ...]:
        """Names of the voices, sorted, without aliases."""
        ...

    def find_voice(self, name: str) -> str:
        """The voice that a client's name means: alias, exact name, or unique part in any case; the
        empty name means the default voice. Raises UnknownVoice."""
        ...

    def join(self, request: SpeechRequest) -> int:
        """Take a request in and return its handle, which no other request of this model gets.

        Prepares the voice and the text, so it may take a while; the request's first events come
        from the next `step`. Never called beyond the capacity. Raises SpeechRejected.
        """
        ...

    def step(self) -> list[Event]:
        """Advance every request in flight by about one chunk, and return what came of it: an empty
        list if none is in flight.

        After an exception the model is unusable for all requests in flight: the worker must give
        them up and restart.
        """
        ...

    def leave(self, handle: int) -> None:
        """Stop a request at once and free what it uses; no effect if it has left already."""
        ...
