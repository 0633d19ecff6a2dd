"""The live client as a process, and a server that plays a scripted session."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_sockets

COMMAND = (sys.executable, "-m", "vibevoice_live")
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def environment(url: str, **variables: str) -> dict[str, str]:
    """Environment for a client of the server at `url`, without any proxy of the test machine."""
    inherited = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return {**inherited, "VIBEVOICE_BASE_URL": f"{url}/v1", **variables}


def run(
    url: str, *arguments: str | Path, stdin: bytes = b"", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the client to its end."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        env=environment(url, **variables),
        timeout=120,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def item(type: str, **fields: Any) -> dict[str, Any]:
    """An event of the only turn that `Script` plays."""
    return {"type": type, "event_id": "e", "item_id": "item_1", "content_index": 0, **fields}


SECOND = bytes(48_000)
"""Bytes per second of audio."""
TURN = (
    item("input_audio_buffer.speech_started", audio_start_ms=200),
    item("input_audio_buffer.speech_stopped", audio_end_ms=900),
    item("input_audio_buffer.committed"),
)
"""The events at the start of a turn."""


@contextmanager
def scripted(events: Sequence[dict[str, Any] | str], *, hangs_up: bool = False) -> Iterator[str]:
    """A server that sends `audio.received` after a second of audio, and `events` and a response
    after the final `clear`; or it disconnects instead of responding. Yields its base URL."""

    def hold(connection: ServerConnection) -> None:
        connection.send(_json({"type": "session.created", "event_id": "e", "session": {}}))
        received = 0
        for message in connection:
            if '"input_audio_buffer.append"' in str(message):
                received += len(base64.b64decode(json.loads(message)["audio"]))
                if received == len(SECOND):
                    connection.send(_json({"type": "audio.received", "event_id": "e"}))
            if '"input_audio_buffer.clear"' in str(message):
                for event in events:
                    connection.send(event if isinstance(event, str) else _json(event))
                if hangs_up:
                    connection.socket.close()
                    return
                connection.send(_json({"type": "input_audio_buffer.cleared", "event_id": "e"}))

    with serve_sockets(hold, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def _json(event: dict[str, Any]) -> str:
    return json.dumps(event)
