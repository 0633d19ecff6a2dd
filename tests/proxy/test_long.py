"""Recordings too long for the model: cut at quiet points, transcribed concurrently, joined in
order."""

import io
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO, cast

import httpx2
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.processes import wait_for
from tests.support.recordings import transcoded, wav
from tests.support.uploads import start_upload

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_proxy.transcription.sections import Recording, cut, quietest_point

pytest_plugins = ("tests.support.proxy_fixtures",)


def blocks(samples: NDArray[np.int16], size: int) -> Iterator[NDArray[np.int16]]:
    """`samples` in blocks, as from a decoder."""
    return (samples[at : at + size] for at in range(0, len(samples), size))


def sections_of(samples: NDArray[np.int16], seconds: float, size: int = 1024) -> list[Any]:
    """The sections of `samples`, each as one array."""
    found: dict[int, list[NDArray[np.int16]]] = {}
    for number, block in cut(blocks(samples, size), int(seconds * SAMPLE_RATE)):
        found.setdefault(number, []).append(block)
    assert list(found) == list(range(len(found)))
    return [np.concatenate(parts) for parts in found.values()]


def noise(seconds: float, *pauses: float) -> NDArray[np.int16]:
    """Loud noise with a silence of 0.4 s around each of `pauses`, in seconds."""
    samples = np.random.default_rng(0).integers(-9000, 9000, round(seconds * SAMPLE_RATE))
    for pause in pauses:
        samples[round((pause - 0.2) * SAMPLE_RATE) : round((pause + 0.2) * SAMPLE_RATE)] = 0
    return samples.astype(np.int16)


@pytest.mark.parametrize("size", [1, 100, 1024, 65_536])
@pytest.mark.parametrize("seconds", [0.5, 3.9, 4.0, 4.1, 8.0, 13.7])
def test_nothing_is_lost_or_doubled(seconds: float, size: int) -> None:
    """The joined sections equal the recording; none exceeds the limit, and a short recording has
    only one."""
    samples = noise(seconds)[:: 40 if size == 1 else 1]
    limit = 4.0 / (40 if size == 1 else 1)
    sections = sections_of(samples, limit, size)
    assert np.array_equal(np.concatenate(sections), samples)
    assert max(map(len, sections)) <= limit * SAMPLE_RATE
    assert (len(sections) == 1) == (len(samples) <= limit * SAMPLE_RATE)


def test_the_cut_is_in_the_pause() -> None:
    """A pause near the limit is used, but not one far from it."""
    sections = sections_of(noise(20.0, 2.0, 6.4, 10.0), 8.0)
    assert len(sections[0]) / SAMPLE_RATE == pytest.approx(6.4, abs=0.1)
    assert len(sections) == 3


@pytest.mark.parametrize(
    "length",
    [pytest.param(0, id="none"), pytest.param(5, id="few"), pytest.param(5000, id="many")],
)
def test_silence_has_a_quietest_point(length: int) -> None:
    """The point is inside the window, whatever it contains."""
    assert 0 <= quietest_point(np.zeros(length, np.int16)) <= length


def in_sections(data: bytes, files: ExitStack, seconds: float) -> Recording:
    """`data` in sections of at most `seconds`, in new files."""

    def new_file() -> BinaryIO:
        return cast(BinaryIO, files.enter_context(tempfile.TemporaryFile(buffering=0)))

    return transcoded(data, new_file, max_section_seconds=seconds)


def test_every_section_is_a_file_of_its_own() -> None:
    """The sections sent to the engine make up the recording, in order."""
    samples = noise(10.0, 3.5, 7.0)
    with ExitStack() as files:
        recording = in_sections(wav(samples), files, 4.0)
        heard = []
        for section in recording.sections:
            section.file.seek(0)
            heard.append(soundfile.read(io.BytesIO(section.file.read()), dtype="int16")[0])
    assert np.array_equal(np.concatenate(heard), samples)
    starts = [section.start for section in recording.sections]
    assert starts == pytest.approx([0.0, 3.5, 7.0], abs=0.1)
    assert recording.duration == 10.0


def test_one_silent_section_is_told_from_the_others() -> None:
    """Silence is detected per section."""
    samples = np.concatenate([noise(4.0), np.zeros(8 * SAMPLE_RATE, np.int16)])
    with ExitStack() as files:
        recording = in_sections(wav(samples), files, 4.0)
    silent = [section.is_silent for section in recording.sections]
    assert (silent[0], silent[-1]) == (False, True)


LONG = wav(noise(10.0, 3.5, 7.0))


def transcribe(url: str, **fields: str) -> httpx2.Response:
    """A transcription of the long recording."""
    files = {"file": ("a", LONG)}
    return httpx2.post(url + TRANSCRIPTIONS, data=fields, files=files, timeout=30)


def test_sections_are_joined_at_their_times(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """Times continue across sections, and token counts are summed. Where voices are not compared,
    labels include the section of the speaker."""
    url = start_proxy(max_section_seconds=4, speaker_linking=False)
    answer = transcribe(url, response_format="diarized_json").json()
    assert [segment["speaker"] for segment in answer["segments"]] == [
        "A1", "B1", "A2", "B2", "A3", "B3",
    ]  # fmt: skip
    starts = [segment["start"] for segment in answer["segments"]]
    assert starts == pytest.approx([0.0, 1.5, 3.5, 5.0, 7.0, 8.5], abs=0.1)
    assert answer["duration"] == 10.0
    assert "speakers" not in answer
    assert answer["usage"]["input_tokens"] == 300
    assert sum(samples for samples, _, _ in fake_engine.audio) == 10 * SAMPLE_RATE


def test_a_recording_in_one_section_has_plain_speakers(start_proxy: StartProxy) -> None:
    """Below the limit, nothing changes."""
    answer = transcribe(start_proxy(max_section_seconds=11), response_format="diarized_json").json()
    assert [segment["speaker"] for segment in answer["segments"]] == ["A", "B"]


@pytest.mark.parametrize("held", [0, 1, 2])
def test_sections_come_in_order(
    held: int, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """Even if one section is slow, the stream is in order, and everything before the slow section
    arrives at once."""
    url = start_proxy(max_section_seconds=4, speaker_linking=False)
    durations = [section.duration for section in sections_in_order()]
    assert len({f"{duration:.2f}" for duration in durations}) == 3
    fake_engine.stall_after = 0
    fake_engine.stall_if = lambda text: f"{durations[held]:.2f} seconds" in text
    events: list[dict[str, Any]] = []
    seen = threading.Semaphore(0)

    def listen() -> None:
        fields = {"stream": "true", "response_format": "diarized_json"}
        files = {"file": ("a", LONG)}
        with (
            httpx2.Client(timeout=30) as client,
            client.stream("POST", url + TRANSCRIPTIONS, data=fields, files=files) as answer,
        ):
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    events.append(json.loads(line.removeprefix("data: ")))
                    seen.release()

    thread = threading.Thread(target=listen)
    thread.start()
    for _ in range(4 * held):
        assert seen.acquire(timeout=60)
    assert len(events) == 4 * held
    fake_engine.release.set()
    thread.join(30)
    speakers = [event["speaker"] for event in events if "speaker" in event]
    assert speakers == ["A1", "B1", "A2", "B2", "A3", "B3"]
    assert events[-1]["type"] == "transcript.text.done"


def sections_in_order() -> Any:
    """The sections of the long recording as sent to the engine."""
    with ExitStack() as files:
        return in_sections(LONG, files, 4.0).sections


def test_sections_are_bounded_side_by_side(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """No more sections than configured are in the engine at once."""
    url = start_proxy(max_section_seconds=2, section_concurrency=2)
    assert transcribe(url).status_code == 200
    assert len(fake_engine.requests) >= 5
    assert fake_engine.most_at_once <= 2


def test_a_client_that_hangs_up_stops_every_section(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """No section keeps running after the client has disconnected."""
    fake_engine.stall_after = 1
    url = start_proxy(max_section_seconds=4)
    with start_upload(url, LONG):
        wait_for(lambda: fake_engine.at_once == 3)
    wait_for(lambda: fake_engine.at_once == 0)
    assert fake_engine.asked == 3
