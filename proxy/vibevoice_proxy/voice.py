"""Live speech: text in, audio out as it is made. What the speech side offers and the realtime side
uses."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class VoiceOptions:
    """Who speaks, and how."""

    model: str = ""
    """A name of a speech model; empty means the default."""
    voice: str = ""
    """Empty means the model's default."""
    speed: float = 1.0


class Voice(Protocol):
    """What speaks in a conversation."""

    async def check(self, options: VoiceOptions) -> None:
        """Raises ModelNotFound, or InvalidRequest for a voice or a speed that is not there. A model
        that is still loading is taken at its word."""
        ...

    def speak(self, text: str, options: VoiceOptions) -> AsyncGenerator[str | bytes]:
        """Words, and after them their audio: 16-bit little-endian samples, mono, 24 kHz, at most a
        second in each. Close the generator to stop at once. Raises ProxyError."""
        ...
