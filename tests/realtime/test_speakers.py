"""One label per person throughout a session that is recognized turn by turn."""

import json

import numpy as np
import pytest
from tests.support.fakes import FakeEngine, StartProxy
from tests.support.real_voices import Spoken
from tests.support.realtime import RATE, TRANSCRIPTION, session

from vibevoice_proxy.transcription.live_speakers import assign
from vibevoice_proxy.transcription.voices import Voice

pytest_plugins = ("tests.support.proxy_fixtures",)

Talk = tuple[bytes, list[Spoken]]


def voice(angle: float, seconds: float) -> Voice:
    """A voice whose dot product with another one is the cosine of the angle between them, in
    degrees."""
    radians = np.deg2rad(angle)
    return Voice(np.array([np.cos(radians), np.sin(radians)], np.float32), seconds)


@pytest.mark.parametrize(
    ("angles", "seconds", "known", "chosen"),
    [
        ([30, 100], [5, 5], 60.0, [(0, True), (1, True)]),  # one like the known person, one unlike
        (
            [30, 20],
            [5, 6],
            60.0,
            [(1, True), (0, True)],
        ),  # the voice with more speech is assigned first
        ([65], [5], 60.0, [(1, True)]),  # enough speech for a new person
        ([65], [1.5], 60.0, [(0, False)]),  # too little for that
        ([65], [5], 1.5, [(0, False)]),  # too little speech of the known person
        ([75], [1.5], 60.0, [(1, True)]),  # little, but unlike
        ([30], [0.7], 60.0, [(0, False)]),  # hardly any speech, but similar
        ([90], [0.7], 60.0, [(None, False)]),  # hardly any speech
    ],
)
def test_who_a_voice_is(
    angles: list[float], seconds: list[float], known: float, chosen: list[tuple[int | None, bool]]
) -> None:
    """A voice is assigned to the most similar person, or to a new one."""
    voices = list(map(voice, angles, seconds))
    assert assign(voices, [voice(0, known)], 0.5) == chosen
    is_clear = seconds[0] >= 1
    expected = [(index if is_clear else None, is_clear) for index in range(len(voices))]
    assert assign(voices, [], 0.5) == expected


async def speakers_of(base: str, engine: FakeEngine, talk: Talk) -> list[str]:
    """The label of each turn's only segment; the engine labels every speaker as the first one."""
    data, turns = talk
    segment = {"Start": 0.4, "End": 3.0, "Speaker": 0, "Content": "Something."}
    engine.text = json.dumps([segment])
    async with session(base) as client:
        await client.append(data + bytes(2 * RATE))
        events = await client.until(f"{TRANSCRIPTION}.completed", count=len(turns))
    return [event["speaker"] for event in events if event["type"].endswith(".segment")]


async def test_one_person_one_label(
    start_proxy: StartProxy, fake_engine: FakeEngine, talk: Talk
) -> None:
    """Two real women take turns and are distinguished by their voices."""
    assert await speakers_of(start_proxy(), fake_engine, talk) == ["A", "B", "A", "B"]


async def test_labels_of_turns_alone(
    start_proxy: StartProxy, fake_engine: FakeEngine, talk: Talk
) -> None:
    """Without comparing voices, labels contain the number of the turn."""
    base = start_proxy(speaker_linking=False)
    assert await speakers_of(base, fake_engine, talk) == ["A1", "A2", "A3", "A4"]
