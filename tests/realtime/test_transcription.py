"""Transcription sessions with the real client over a real socket, with real voices."""

import asyncio
from itertools import zip_longest

import numpy as np
import openai
import pytest
from av.audio.frame import AudioFrame
from av.codec import CodecContext
from tests.support.fakes import FakeEngine, StartProxy
from tests.support.real_voices import Spoken
from tests.support.realtime import (
    RATE,
    TRANSCRIPTION,
    Event,
    base64_blocks,
    decode_open_turn,
    session,
)
from tests.support.wording import errors, words

pytest_plugins = ("tests.support.proxy_fixtures",)

Talk = tuple[bytes, list[Spoken]]
COMPLETED = f"{TRANSCRIPTION}.completed"
ORDER = (
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    COMPLETED,
)


def item_of(event: Event) -> str:
    return event.get("item_id") or event["item"]["id"]


async def test_a_conversation(base: str, talk: Talk) -> None:
    """Each turn is an item with its events in OpenAI's order, its words, times and speaker; labels
    are consistent."""
    data, turns = talk
    async with session(base) as client:
        await client.append(data)
        events = await client.until(COMPLETED, count=len(turns))
    ids = list(dict.fromkeys(map(item_of, events)))
    speakers: list[str] = []
    for item_id, before, spoken in zip_longest(ids, [None, *ids[:-1]], turns):
        own = [event for event in events if item_of(event) == item_id]
        assert [event["type"] for event in own if event["type"] in ORDER] == list(ORDER)
        found = {event["type"]: event for event in own}
        assert found["input_audio_buffer.committed"]["previous_item_id"] == before
        assert found["conversation.item.added"]["previous_item_id"] == before
        assert found[ORDER[0]]["audio_start_ms"] == pytest.approx(
            spoken.start * 1000 - 300, abs=300
        )
        assert found[ORDER[1]]["audio_end_ms"] == pytest.approx(spoken.end * 1000 + 500, abs=400)
        segments = [event for event in own if event["type"] == f"{TRANSCRIPTION}.segment"]
        assert segments[0]["start"] == pytest.approx(spoken.start, abs=0.3)
        assert segments[-1]["end"] == pytest.approx(spoken.end, abs=0.3)
        transcript = found[COMPLETED]["transcript"]
        assert transcript == " ".join(event["text"] for event in segments)
        assert errors(words(spoken.text), words(transcript)) <= 3
        speakers += {event["speaker"] for event in segments}
    assert speakers == ["A", "B", "A", "B"]


async def test_words_come_while_somebody_speaks(base: str, talk: Talk) -> None:
    """The first words arrive before the turn ends, and together they make up the transcript."""
    data, turns = talk
    async with session(base) as client:
        for block in base64_blocks(data[: round((turns[0].end + 1) * RATE) * 2]):
            await client.connection.input_audio_buffer.append(audio=block)
            await client.connection.send_raw("{}")
            await client.until("error")  # the recognizer has the block
            await asyncio.to_thread(decode_open_turn, base)
        while COMPLETED not in [event["type"] for event in client.events]:
            await client.receive()
    events = [event for event in client.events if event["type"] != "error"]
    types = [event["type"] for event in events]
    assert types.index(f"{TRANSCRIPTION}.delta") < types.index(ORDER[1])
    deltas = [event["delta"] for event in events if event["type"].endswith(".delta")]
    assert len(deltas) > 2
    assert errors(words(events[-1]["transcript"]), words("".join(deltas))) <= 2


async def test_a_client_that_commits(base: str, talk: Talk) -> None:
    """Without turn detection, a turn is the audio between two commits, without cleared audio."""
    data, turns = talk
    cut = round((turns[0].end + 0.3) * RATE) * 2
    async with session(base) as client:
        updated = await client.update(turn_detection=None)
        assert updated["session"]["audio"]["input"]["turn_detection"] is None
        await client.append(data[:cut])
        await client.connection.input_audio_buffer.clear()
        assert [event["type"] for event in await client.until("input_audio_buffer.cleared")] == [
            "input_audio_buffer.cleared"
        ]
        await client.connection.input_audio_buffer.commit()
        [error] = await client.until("error")
        assert error["error"]["code"] == "input_audio_buffer_commit_empty"
        await client.append(data[cut : round((turns[1].end + 0.3) * RATE) * 2])
        await client.connection.input_audio_buffer.commit()
        events = await client.until(COMPLETED)
    types = [event["type"] for event in events]
    assert types[:3] == list(ORDER[2:5])
    assert errors(words(turns[1].text), words(events[-1]["transcript"])) <= 3


async def test_detection_that_is_switched_on_later(base: str, talk: Talk) -> None:
    """The audio before that becomes a turn, and speech after it is detected."""
    data, turns = talk
    cut = round((turns[0].end + 0.3) * RATE) * 2
    async with session(base) as client:
        await client.update(turn_detection=None)
        await client.append(data[:cut])
        await client.update(turn_detection={"type": "server_vad"})
        await client.append(data[cut : round((turns[1].end + 1) * RATE) * 2])
        while [event["type"] for event in client.events].count(COMPLETED) < 2:
            await client.receive()
    found = [event["transcript"] for event in client.events if event["type"] == COMPLETED]
    for turn, transcript in zip(turns[:2], found, strict=True):
        assert errors(words(turn.text), words(transcript)) <= 3


@pytest.mark.parametrize("law", ["u", "a"])
async def test_telephone_audio(base: str, talk: Talk, law: str) -> None:
    """G.711 audio encoded by FFmpeg is transcribed."""
    data, turns = talk
    samples = np.frombuffer(data, "<i2")[: round((turns[0].end + 1) * RATE)]
    encoder = CodecContext.create({"u": "pcm_mulaw", "a": "pcm_alaw"}[law], "w")
    encoder.sample_rate, encoder.layout, encoder.format = 8000, "mono", "s16"  # type: ignore[attr-defined]
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples[None, ::3]), "s16", "mono")
    frame.sample_rate = 8000
    encoded = b"".join(bytes(packet) for packet in encoder.encode(frame))  # type: ignore[attr-defined]
    async with session(base) as client:
        await client.update(format={"type": f"audio/pcm{law}"})
        await client.append(encoded, 4000)
        events = await client.until(COMPLETED)
    assert errors(words(turns[0].text), words(events[-1]["transcript"])) <= 4


async def test_log_probabilities(base: str, talk: Talk) -> None:
    """They are sent if the session includes them."""
    data, turns = talk
    async with session(base) as client:
        include = ["item.input_audio_transcription.logprobs"]
        await client.connection.session.update(
            session={"type": "transcription", "include": include}  # type: ignore[typeddict-item]
        )
        await client.append(data[: round((turns[0].end + 1) * RATE) * 2])
        events = await client.until(COMPLETED)
    tokens = events[-1]["logprobs"]
    assert "".join(token["token"] for token in tokens).split() == events[-1]["transcript"].split()
    assert all(token["logprob"] <= 0 for token in tokens)


@pytest.mark.filterwarnings(
    "ignore:connect\\(\\) must be used:DeprecationWarning"
)  # called by the openai package
def test_the_synchronous_client(base: str, talk: Talk) -> None:
    """The synchronous client can run a session as well."""
    data, turns = talk
    with openai.OpenAI(base_url=f"{base}/v1", api_key="none") as client:
        with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
            for block in base64_blocks(data[: round((turns[0].end + 1) * RATE) * 2]):
                connection.input_audio_buffer.append(audio=block)
            completed = next(
                event
                for event in connection
                if event.type == "conversation.item.input_audio_transcription.completed"
            )
    assert errors(words(turns[0].text), words(completed.transcript)) <= 3


async def test_turn_by_turn_with_the_engine(
    start_proxy: StartProxy, fake_engine: FakeEngine, talk: Talk
) -> None:
    """A recognizer for whole recordings gets each turn separately; a failure only affects that
    turn."""
    data, turns = talk
    async with session(start_proxy()) as client:
        await client.append(data[: round((turns[0].end + 1) * RATE) * 2])
        events = await client.until(COMPLETED)
        fake_engine.status = 503
        await client.append(data[round((turns[0].end + 1) * RATE) * 2 :])
        failed = (await client.until(f"{TRANSCRIPTION}.failed"))[-1]
    segments = [event for event in events if event["type"] == f"{TRANSCRIPTION}.segment"]
    assert [(event["text"], event["speaker"]) for event in segments] == [
        ("Good morning.", "A"),
        ("Hello.", "unknown"),  # 0.75 s are too short to identify a speaker
    ]
    assert segments[0]["start"] == pytest.approx(turns[0].start - 0.3, abs=0.3)
    assert events[-1]["transcript"] == "Good morning. Hello."
    assert events[-1]["usage"]["type"] == "tokens"
    assert fake_engine.audio[0][0] == pytest.approx(
        (turns[0].end - turns[0].start) * RATE, abs=RATE
    )
    assert failed["error"]["code"] == "upstream_unavailable"
