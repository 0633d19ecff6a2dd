"""stream=true over a real socket: when events are sent, and what keeps the connection alive."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai.types.audio import TranscriptionTextDeltaEvent, TranscriptionTextDoneEvent
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.recordings import tone, wav

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))
FIRST_SEGMENT = 9
"""Number of deltas from the fake engine that contain its first segment."""


def blocks(answer: httpx2.Response) -> Iterator[str]:
    """The blocks of a stream, each when it arrives."""
    text = ""
    for piece in answer.iter_text():
        text += piece
        while "\n\n" in text:
            block, _, text = text.partition("\n\n")
            yield block


def event(block: str) -> dict[str, Any]:
    """The event in a block."""
    assert block.startswith("data: ")
    return json.loads(block.removeprefix("data: "))


def stream(url: str, data: bytes = SPEECH, **fields: str) -> Any:
    """A streamed transcription of `data`, whose response is read as it arrives."""
    fields = {"stream": "true", **fields}
    return httpx2.stream(
        "POST", url + TRANSCRIPTIONS, data=fields, files={"file": ("a", data)}, timeout=30
    )


@pytest.fixture
def gated(fake_engine: FakeEngine) -> Iterator[FakeEngine]:
    """The fake engine, whose responses wait at a gate that is always opened at the end."""
    fake_engine.gate_after = 0
    yield fake_engine
    fake_engine.gate.set()


@pytest.mark.parametrize("response_format", ["json", "text", "diarized_json"])
def test_the_first_segment_leaves_before_the_engine_has_finished(
    response_format: str, start_proxy: StartProxy, gated: FakeEngine
) -> None:
    """The client gets the first words while the engine still holds back the rest."""
    gated.gate_after = FIRST_SEGMENT
    with stream(start_proxy(), response_format=response_format) as answer:
        rest = blocks(answer)
        assert event(next(rest))["delta"] == "Good morning."
        assert not gated.gate.is_set()
        gated.gate.set()
        *_, done = rest
    assert event(done)["text"] == "Good morning. Hello."


def test_comments_keep_the_connection_alive_before_the_first_segment(
    start_proxy: StartProxy, gated: FakeEngine
) -> None:
    """While the engine is silent, the response has begun, and comments are sent until the first
    event."""
    with stream(start_proxy(ping_interval=0.05)) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        rest = blocks(answer)
        assert [next(rest), next(rest)] == [": ping", ": ping"]
        gated.gate.set()
        events = [event(block) for block in rest if block != ": ping"]
    assert [item["type"] for item in events] == [
        "transcript.text.delta",
        "transcript.text.delta",
        "transcript.text.done",
    ]


def test_a_failure_after_the_first_comment_is_an_event(
    start_proxy: StartProxy, gated: FakeEngine
) -> None:
    """The status has already been sent, so the error is the last event, and the response ends
    normally."""
    gated.cut_after = 0
    with stream(start_proxy(ping_interval=0.05)) as answer:
        rest = blocks(answer)
        assert next(rest) == ": ping"
        gated.gate.set()
        *_, failure = rest
    assert event(failure)["error"]["code"] == "upstream_error"


def test_a_file_that_is_no_recording_has_its_status(start_proxy: StartProxy) -> None:
    """If the stream has not begun, the error is an ordinary response."""
    with stream(start_proxy(), b"no recording") as answer:
        answer.read()
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_audio"


@pytest.mark.parametrize("response_format", ["srt", "vtt", "verbose_json"])
def test_a_format_that_cannot_be_streamed_is_told(
    response_format: str, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """The client could not read an ordinary body as events, so this is an error."""
    with stream(start_proxy(), response_format=response_format) as answer:
        answer.read()
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")
    assert fake_engine.asked == 0


def test_a_client_that_leaves_among_comments_stops_the_engine(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """The engine sees the connection close even though no event was sent."""
    fake_engine.stall_after = 0
    with stream(start_proxy(ping_interval=0.05)) as answer:
        for block in blocks(answer):
            assert block == ": ping"
            if fake_engine.requests:
                break  # the engine is at work
    assert fake_engine.closed.wait(60)


def test_nothing_on_the_way_holds_events_back(start_proxy: StartProxy) -> None:
    """Headers make nginx and caches forward the events at once."""
    with stream(start_proxy()) as answer:
        answer.read()
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"
    assert "content-length" not in answer.headers


async def test_the_async_client_skips_comments(start_proxy: StartProxy, gated: FakeEngine) -> None:
    """The official client sees its typed events but not the comments."""
    url = start_proxy(ping_interval=0.02)
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        events = await client.audio.transcriptions.create(file=SPEECH, model="x", stream=True)
        gated.gate.set()  # the response began with a comment: nothing else has been sent
        *deltas, done = [item async for item in events]
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert all(isinstance(item, TranscriptionTextDeltaEvent) for item in deltas)
    assert "".join(getattr(item, "delta", "") for item in deltas) == done.text
