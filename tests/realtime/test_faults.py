"""Invalid data, random events, lost workers and disconnects: the session, or at least the server,
continues."""

import asyncio
import json
import random

import httpx2
import pytest
from tests.realtime.conftest import light_proxy
from tests.support.fakes import FakeEngine, StartProxy
from tests.support.metrics import samples_when
from tests.support.real_voices import Spoken
from tests.support.realtime import RATE, TRANSCRIPTION, random_message, session
from tests.support.workers import LIGHT, newest_worker
from websockets.exceptions import ConnectionClosed

pytest_plugins = ("tests.support.proxy_fixtures",)

Talk = tuple[bytes, list[Spoken]]
OPEN = ("vibevoice_realtime_sessions_open",)
COMPLETED = f"{TRANSCRIPTION}.completed"
IN_WORKER = ("vibevoice_light_in_flight",)


def wait_until_none_is_open(base: str) -> None:
    with httpx2.Client(base_url=base, timeout=60) as http:
        samples_when(http, lambda found: found[OPEN] == found.get(IN_WORKER, 0) == 0)


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ("", "invalid_json", None),
        ('{"type": "input_audio_buffer.append", "audio": "', "invalid_json", None),
        ("[" * 5000, "invalid_json", None),
        ("[]", "invalid_event", "type"),
        ('{"type": 3}', "invalid_event", "type"),
        ('{"type": "no.such.event"}', "unknown_event", "type"),
        ('{"type": "response.create"}', "unsupported_event", "type"),
        ('{"type": "transcription_session.update", "session": {}}', "unsupported_event", "type"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "é"}', "invalid_audio", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": "QQ=="}', "invalid_audio", "audio"),
        ('{"type": "input_audio_buffer.append", "audio": 5}', "invalid_value", "audio"),
        ('{"type": "input_audio_buffer.clear", "now": 1}', "unknown_parameter", "now"),
        (
            '{"type": "session.update", "session": {"type": "realtime"}}',
            "invalid_value",
            "session.type",
        ),
        (
            '{"type": "session.update", "session": {"type": "transcription", "audio": {"input": '
            '{"turn_detection": {"type": "server_vad", "threshold": 2}}}}}',
            "invalid_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (b"\x00\xff", "invalid_event", None),
    ],
)
async def test_what_cannot_be_followed(
    base: str, message: str | bytes, code: str, param: str | None
) -> None:
    """Invalid events get an error with the reason, and the session continues."""
    async with session(base) as client:
        await client.connection.send_raw(message)
        error = (await client.receive())["error"]
        assert (error["code"], error["param"]) == (code, param)
        assert error["type"] == "invalid_request_error"
        assert (await client.update(turn_detection=None))["type"] == "session.updated"


async def test_errors_name_the_event(base: str) -> None:
    """Errors contain the id that the client assigned to the event."""
    async with session(base) as client:
        await client.connection.send_raw('{"type": "response.cancel", "event_id": "mine"}')
        assert (await client.receive())["error"]["event_id"] == "mine"


async def test_random_events(base: str) -> None:
    """Random events neither end a session nor leave one open."""

    async def play(seed: int) -> None:
        source = random.Random(seed)
        async with session(base) as client:
            for _ in range(25):
                await client.connection.send_raw(random_message(source))
            await client.connection.send_raw('{"type": "last"}')
            while True:
                event = await client.receive()
                if "'last'" in str(event.get("error")):
                    break

    await asyncio.gather(*map(play, range(20)))
    wait_until_none_is_open(base)


async def test_a_lost_worker_costs_the_turn(model_folder: object, talk: Talk) -> None:
    """The worker's current turn fails, and the session continues with the next worker."""
    data, turns = talk
    cut = round(turns[1].start * RATE) * 2 + 2 * RATE
    with light_proxy() as base:
        async with session(base) as client:
            await client.append(data[:cut])
            await client.until("input_audio_buffer.speech_started", count=2)
            newest_worker(LIGHT).kill()
            failed = (await client.until(f"{TRANSCRIPTION}.failed"))[-1]
            assert failed["error"]["code"] == "upstream_unavailable"
            await client.append(data[cut:])
            completed = (await client.until(COMPLETED, count=2))[-1]
            assert completed["transcript"]


async def test_a_client_that_hangs_up(base: str, talk: Talk) -> None:
    """The client disconnects in the middle of a message; nothing remains of its session."""
    async with session(base) as client:
        await client.append(talk[0][: 4 * RATE])
        await client.until("input_audio_buffer.speech_started")
        client.connection._connection.transport.abort()  # type: ignore[attr-defined]
    wait_until_none_is_open(base)


async def test_a_client_that_hangs_up_while_the_engine_is_stuck(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """Its session ends, although its last event cannot be handled."""
    fake_engine.stall_after = 0
    base = start_proxy()
    async with session(base) as client:
        await client.update(turn_detection=None)
        for _ in range(8):
            await client.append(bytes(RATE))
            await client.connection.input_audio_buffer.commit()
        await client.until("input_audio_buffer.committed", count=5)
        client.connection._connection.transport.abort()  # type: ignore[attr-defined]
    wait_until_none_is_open(base)
    fake_engine.release.set()


async def test_long_messages(base: str) -> None:
    """Only audio events may be long, and errors do not repeat long values."""
    keys = ",".join(f'"k{number}":1' for number in range(40_000))
    async with session(base) as client:
        for rest in (keys, f'"audio":"AAAA",{keys}', '"event_id":"' + "x" * 300_000 + '"'):
            await client.connection.send_raw(f'{{"type":"session.update",{rest}}}')
            assert (await client.receive())["error"]["code"] == "message_too_long"
        rest = f'"session":{{}},"{"k" * 100_000}":1'
        await client.connection.send_raw(f'{{"type":"session.update",{rest}}}')
        error = (await client.receive())["error"]
        assert error["code"] == "unknown_parameter"
        assert len(json.dumps(error)) < 1000
        audio = "A" * 400_000 + r"\/" * 8
        text = f'{{ "audio" : "{audio}", "event_id":"e",\n"type":"input_audio_buffer.append"}}'
        await client.connection.send_raw(text)
        assert (await client.update(turn_detection=None))["type"] == "session.updated"


async def test_a_full_buffer(start_proxy: StartProxy) -> None:
    """Audio above the limit is rejected; what the buffer holds can still be committed."""
    async with session(start_proxy(realtime_max_buffer_seconds=2.0)) as client:
        await client.update(turn_detection=None)
        await client.append(bytes(2 * 3 * RATE), 2 * RATE)
        assert (await client.until("error"))[-1]["error"]["code"] == "input_audio_buffer_full"
        await client.connection.input_audio_buffer.commit()
        assert (await client.until(COMPLETED))[-1]["transcript"] == ""


async def test_the_longest_session(start_proxy: StartProxy) -> None:
    """It ends with its reason."""
    async with session(start_proxy(realtime_max_session_seconds=1.0)) as client:
        assert (await client.receive())["error"]["code"] == "session_expired"


async def test_an_idle_session(start_proxy: StartProxy, talk: Talk) -> None:
    """The open turn is completed before the session ends with its reason."""
    speech = talk[0][: round(talk[1][0].end * RATE) * 2]
    for seconds in (1.0, 5.0, 25.0):
        async with session(start_proxy(realtime_idle_timeout=seconds)) as client:
            with pytest.raises(ConnectionClosed) as closed:
                await client.append(speech, len(speech))
                while True:
                    await client.receive()
            if COMPLETED in [event["type"] for event in client.events]:
                break  # otherwise the session had ended before the audio arrived
    completed, error = client.events[-2:]
    assert completed["transcript"]
    assert error["error"]["code"] == "session_idle"
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
