"""What every synthesis engine offers to the worker that drives it.

An engine makes speech for several requests at once, one step at a time. A request joins between
two steps, every step makes about one chunk for each request inside, and a request leaves at its
end, at an error, or when the worker no longer wants it. One thread calls an engine, never two.

    handle = engine.join(request)     # refuses a bad request with InvalidRequest
    while not ended:
        for event in engine.step():   # Prepared, Chunk or End, each with its handle
            ...
    engine.leave(handle)              # only to stop early; after End it has left

This module imports neither torch nor transformers, so that the proxy can use its types.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

Samples = np.ndarray
"""Mono audio, float32, shape (samples,), nominally within -1..1 (peaks may exceed it)."""


class SpeechError(Exception):
    """A request that cannot be spoken; the message is fit for the client."""


class InvalidRequest(SpeechError):
    """The request itself is at fault: its text, a number out of range, too many speakers."""


class CannotClone(InvalidRequest):
    """The model does not take voices that come with a request."""


class UnknownVoice(InvalidRequest):
    """No voice, or more than one, answers to the name."""

    def __init__(self, name: str, known: tuple[str, ...], matches: tuple[str, ...] = ()) -> None:
        fault = f"fits several voices ({', '.join(matches)})" if matches else "is not known"
        super().__init__(f"Voice {name!r} {fault}. Voices: {', '.join(known) or 'none'}.")


@dataclass(frozen=True)
class Turn:
    """What one speaker says without interruption; one line of text, already cleaned."""

    text: str
    voice: str = ""
    """A name among `SpeechEngine.voices()`, an alias, a unique part of a name, or a key of
    `SpeechRequest.samples`; empty means the engine's default voice."""


@dataclass(frozen=True)
class SpeechRequest:
    """One piece of speech to make. Fields that are None take the engine's own default."""

    turns: tuple[Turn, ...]
    """What is said, in order. Engines with one speaker (`max_speakers` 1) refuse two voices."""
    cfg_scale: float | None = None
    """Weight of the text condition in classifier-free guidance; ignored by espeak."""
    steps: int | None = None
    """Denoising steps of the diffusion head; ignored by espeak."""
    seed: int | None = None
    """Same seed, same request, same audio; None draws one."""
    max_seconds: float | None = None
    """Hard limit on the audio's length; the engine's own runaway limit holds as well."""
    samples: Mapping[str, Samples] = field(default_factory=dict)
    """Voices that came with the request: name → recording, mono float32 at `sample_rate`. Models
    with `Model.clones` False refuse them."""


@dataclass(frozen=True)
class Prepared:
    """The voices of a request are ready; comes once, before its first chunk, from engines that
    compute features of recordings."""

    handle: int
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
    """`stop`: the model ended by itself. `length`: cut by `max_seconds`, the runaway limit or the
    model's context."""
    seconds: float = 0.0
    """Time since the request joined; the worker fills it in."""


Event = Prepared | Chunk | End


class SpeechEngine(Protocol):
    """A model that speaks."""

    @property
    def name(self) -> str:
        """Model name as clients see it, such as `vibevoice-realtime-0.5b` or `espeak`."""
        ...

    @property
    def sample_rate(self) -> int:
        """Samples a second of every chunk."""
        ...

    @property
    def capacity(self) -> int:
        """How many requests may be inside at once; `join` must not be called beyond it."""
        ...

    @property
    def max_speakers(self) -> int:
        """Different voices that one request may have."""
        ...

    def voices(self) -> tuple[str, ...]:
        """Names of the voices, sorted, without aliases."""
        ...

    def find_voice(self, name: str) -> str:
        """The voice that a client's name means: alias, exact name, or unique case-insensitive
        part; `UnknownVoice` otherwise. The empty name is the default voice."""
        ...

    def join(self, request: SpeechRequest) -> int:
        """Take a request in and return its handle, unique in the engine's life. Prepares the voice
        and the text, so it may take a while; nothing is returned for the request before the next
        `step`. Raises `InvalidRequest` for what the client must change."""
        ...

    def step(self) -> list[Event]:
        """Advance every request inside by about one chunk, and return what came of it; an empty
        list if nothing is inside. An exception from here leaves the engine unusable for all
        requests inside: the worker must give them up and restart."""
        ...

    def leave(self, handle: int) -> None:
        """Stop a request at once and free what it holds; no effect if it has left already."""
        ...
