"""Tiny synthesis models and what Microsoft's code made with them (tests/data/README.md)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from vibevoice_tts.engine import Chunk, End, Event, Samples, SpeechEngine, SpeechRequest, Turn

DATA = Path(__file__).parent / "data"
REALTIME = DATA / "tts-realtime"
FULL = DATA / "tts-full"


@dataclass
class Spoken:
    """What an engine gave for one request."""

    chunks: list[Samples]
    end: End | None = None

    @property
    def audio(self) -> Samples:
        """The chunks joined."""
        return np.concatenate(self.chunks)


def expected(folder: Path) -> list[tuple[dict[str, Any], Samples]]:
    """The cases of a fixture: what was asked for, and the audio that came."""
    with safe_open(folder / "expected.safetensors", framework="np") as file:
        cases = json.loads(file.metadata()["cases"])
        return [(case, file.get_tensor(f"audio.{n}")) for n, case in enumerate(cases)]


def request_of(case: dict[str, Any]) -> SpeechRequest:
    """The request of a fixture's case."""
    turns = case.get("turns") or [[case["text"], case["voice"]]]
    return SpeechRequest(
        tuple(Turn(text, voice) for text, voice in turns),
        cfg_scale=case["cfg_scale"],
        steps=case["steps"],
        seed=case["seed"],
    )


def collect(events: list[Event], spoken: dict[int, Spoken]) -> None:
    """Add the events of one step to what was spoken."""
    for event in events:
        if isinstance(event, Chunk):
            spoken[event.handle].chunks.append(event.samples)
        elif isinstance(event, End):
            spoken[event.handle].end = event
        else:
            raise event.error


def speak(engine: SpeechEngine, request: SpeechRequest) -> Spoken:
    """One request from its start to its end."""
    spoken = Spoken([])
    handle = engine.join(request)
    while spoken.end is None:
        collect(engine.step(), {handle: spoken})
    return spoken
