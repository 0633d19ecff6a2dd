"""A proxy with the light recognizer, and a conversation of real voices as a file."""

import wave
from pathlib import Path

import pytest
from tests.realtime.conftest import base as base
from tests.realtime.conftest import model_folder as model_folder
from tests.realtime.conftest import talk as talk
from tests.support.real_voices import Spoken
from tests.support.realtime import RATE

Talk = tuple[bytes, list[Spoken]]


@pytest.fixture(scope="session")
def sentence(talk: Talk) -> bytes:
    """The shortest turn of the conversation, as `audio/pcm`."""
    data, turns = talk
    turn = min(turns, key=lambda turn: turn.end - turn.start)
    return data[2 * round((turn.start - 0.5) * RATE) : 2 * round((turn.end + 0.3) * RATE)]


@pytest.fixture(scope="session")
def recording(talk: Talk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The conversation as a WAV file."""
    path = tmp_path_factory.mktemp("live") / "talk.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(talk[0])
    return path
