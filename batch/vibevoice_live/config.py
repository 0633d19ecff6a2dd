"""The settings of a session: the body of `session.update` (openai 3.57,
`RealtimeTranscriptionSessionCreateRequest`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vibevoice_core.audio import SAMPLE_RATE


@dataclass(frozen=True)
class SessionConfig:
    """Settings of the recognizer and of turn detection."""

    model: str | None = None
    """None for the server's default."""
    language: str | None = None
    prompt: str = ""
    hotwords: Sequence[str] = ()
    silence_seconds: float = 0.5
    """Seconds of silence that end a turn; the default of OpenAI's API."""
    threshold: float = 0.5
    """Threshold of the voice activity detector; the default of OpenAI's API."""

    def session(self) -> dict[str, Any]:
        """The session, without fields that are not set."""
        transcription = {
            "model": self.model,
            "language": self.language,
            "prompt": self.prompt,
            "keywords": list(self.hotwords),
        }
        return {
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": SAMPLE_RATE},
                    "transcription": {key: value for key, value in transcription.items() if value},
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": self.threshold,
                        "silence_duration_ms": round(self.silence_seconds * 1000),
                    },
                }
            },
        }
