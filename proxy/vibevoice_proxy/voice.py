"""Live speech: audio while it is synthesized. The interface between the speech wing and the
realtime wing."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class VoiceOptions:
    """The model, voice and speed of live speech."""

    model: str = ""
    """Name of a speech model; empty means the default."""
    voice: str = ""
    """Name of a voice; empty means the model's default."""
    speed: float = 1.0


class Voice(Protocol):
    """Speaks in a conversation."""

    async def check(self, options: VoiceOptions) -> None:
        """Raises ModelNotFound, or InvalidRequest for an unsupported voice or speed. The voice is
        not checked while the model is loading."""
        ...

    def speak(self, text: str, options: VoiceOptions) -> AsyncGenerator[str | bytes]:
        """Yield the words of each passage, then their audio: 16-bit little-endian samples, mono, 24
        kHz, up to one second per chunk. Close the generator to stop immediately. Raises
        ProxyError."""
        ...
