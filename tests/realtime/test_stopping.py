"""Sessions of a proxy that is shutting down."""

import signal
from pathlib import Path

import pytest
from tests.realtime.conftest import FOLDER
from tests.support.processes import proxy_process
from tests.support.real_voices import Spoken
from tests.support.realtime import RATE, TRANSCRIPTION, Event, session
from tests.support.wording import errors, words
from websockets.exceptions import ConnectionClosed

Talk = tuple[bytes, list[Spoken]]


async def test_the_open_turn_is_finished(model_folder: Path, talk: Talk, tmp_path: Path) -> None:
    """The words of the open turn arrive before the connection closes, with and without turn
    detection."""
    data, turns = talk

    def check(completed: Event) -> None:
        assert errors(words(turns[0].text), words(completed["transcript"])) <= 3

    proxy = proxy_process(
        tmp_path / "log",
        ASR_API="off",
        TTS_MODEL_TYPE="off",
        VIBEVOICE_LIGHT="on",
        VIBEVOICE_LIGHT_MODELS=FOLDER,
        VIBEVOICE_LIGHT_WORKERS="1",
    )
    with proxy as (process, base):
        async with session(base) as detecting, session(base) as committing:
            await committing.update(turn_detection=None)
            for client in (detecting, committing):
                await client.append(data[: round(turns[0].end * RATE) * 2])
                await client.connection.send_raw("{}")
                await client.until("error")  # all earlier events have arrived
            process.send_signal(signal.SIGTERM)
            for client in (detecting, committing):
                check((await client.until(f"{TRANSCRIPTION}.completed"))[-1])
                assert (await client.receive())["error"]["code"] == "server_stopping"
                with pytest.raises(ConnectionClosed) as closed:
                    await client.receive()
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
        assert process.wait(30) in (0, -signal.SIGTERM)
