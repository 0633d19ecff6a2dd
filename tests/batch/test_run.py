"""How the batch client handles responses: which requests it retries, and how many run at once."""

import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.support.batch_client import Batch, noise
from tests.support.fakes import serve

from vibevoice_batch.limit import FLAT_ROUNDS, MOST, ROUNDS_BETWEEN_TRIES, START, Limit
from vibevoice_batch.run import TRIES_AFTER_LOSS

SEGMENT = {"id": "seg_001", "start": 0, "end": 1.5, "speaker": "A", "text": "yes"}
DIARIZED = {"task": "transcribe", "duration": 1.5, "text": "yes", "segments": [SEGMENT]}


class Script:
    """A server that gives one response after another, and repeats the last."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], object]] = []
        self.asked = 0

    async def answer(self, request: Request) -> Response:
        await request.body()
        self.asked += 1
        status, headers, body = self.answers[min(self.asked, len(self.answers)) - 1]
        return JSONResponse(body, status, headers)


@pytest.fixture
def script() -> Script:
    """The server's responses."""
    return Script()


@pytest.fixture
def batch(script: Script, tmp_path: Path) -> Iterator[Batch]:
    """The client connected to it."""
    route = Route("/v1/audio/transcriptions", script.answer, methods=["POST"])
    with serve(Starlette(routes=[route])) as url:
        yield Batch(tmp_path / "transcripts", url)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recording."""
    (tmp_path / "a.wav").write_bytes(noise(0.2))
    return tmp_path / "a.wav"


OK = (200, {}, DIARIZED)
ERROR = {"error": {"message": "no", "type": "t", "param": None, "code": "c"}}


@pytest.mark.parametrize(
    ("answers", "asked", "code", "said"),
    [
        pytest.param([(429, {"retry-after": "0.1"}, ERROR), OK], 2, 0, "1 transcribed", id="full"),
        pytest.param([(503, {"retry-after": "0.1"}, ERROR), OK], 2, 0, "1 transcribed", id="away"),
        pytest.param([(503, {}, "down")] * 2 + [OK], 3, 0, "1 transcribed", id="no-retry-after"),
        pytest.param(
            [(503, {"x-should-retry": "false"}, ERROR), OK],
            1,
            1,
            "FAILED a.wav: no",
            id="told-not-to",
        ),
        pytest.param([(400, {}, ERROR), OK], 1, 1, "FAILED a.wav: no", id="bad-recording"),
        pytest.param([(413, {}, ERROR), OK], 1, 1, "FAILED a.wav: no", id="too-large"),
        pytest.param([(502, {}, ERROR), OK], 1, 1, "FAILED a.wav: no", id="engine-failed"),
        pytest.param([(500, {}, "<html>"), OK], 1, 1, 'FAILED a.wav: "<html>"', id="no-json-error"),
        pytest.param([(404, {}, ERROR), OK], 1, 1, "returned 404: no", id="wrong-url"),
        pytest.param(
            [(400, {}, "The plain HTTP request was sent to HTTPS port"), OK],
            1,
            1,
            "should it be https://?",
            id="wants-tls",
        ),
        pytest.param([(307, {"location": "/"}, ""), OK], 1, 1, "returned 307", id="redirect"),
        pytest.param([(200, {}, {"text": "yes"})], 1, 1, "is not diarized_json", id="other-format"),
        pytest.param([(200, {}, {"segments": [{}]})], 1, 1, "is not diarized_json", id="no-times"),
        pytest.param(
            [(200, {}, {**DIARIZED, "duration": "1.5"})], 1, 0, "1 transcribed", id="text"
        ),
    ],
)
def test_only_what_can_heal_is_asked_for_again(
    batch: Batch,
    script: Script,
    recording: Path,
    answers: list[tuple[int, dict[str, str], object]],
    asked: int,
    code: int,
    said: str,
) -> None:
    """Only 429, 503, and refused connections are retried; all other errors fail the file or end the
    run."""
    script.answers = answers

    result = batch.run(recording)

    assert (result[0], script.asked) == (code, asked)
    assert said in result[1]


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        pytest.param(400, 0, id="refused"),
        pytest.param(408, 1, id="time-out"),
        pytest.param(502, 1, id="engine-failed"),
    ],
)
def test_the_next_run_asks_again_for_what_was_not_the_files_fault(
    batch: Batch, script: Script, recording: Path, status: int, asked: int
) -> None:
    """A rejection remains final."""
    script.answers = [(status, {}, ERROR), OK]
    batch.run(recording)

    code, _ = batch.run(recording)

    assert script.asked == 1 + asked
    assert code == 1 - asked


def test_a_server_that_is_not_there_is_waited_for_in_vain(tmp_path: Path, recording: Path) -> None:
    """No file is marked as failed: it is left for the next run."""
    batch = Batch(tmp_path / "transcripts", "http://127.0.0.1:9")

    code, said = batch.run(recording, "--patience", "0.1")

    assert code == 1
    assert said.count("Retrying: the server cannot be reached") == 1
    assert "vibevoice-proxy`, or set --base-url" in said
    assert "Run the same command again" in said
    assert batch.lines() == []


class Hangup(socketserver.BaseRequestHandler):
    """Accepts a connection and closes it during an upload."""

    asked = 0

    def handle(self) -> None:
        if self.request.recv(100).startswith(b"POST"):
            Hangup.asked += 1
        else:
            self.request.sendall(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")


class NoHttp(socketserver.BaseRequestHandler):
    """Another kind of server, or a port whose server is still starting: Docker accepts connections
    for it and closes them."""

    greeting = b""

    def handle(self) -> None:
        self.request.sendall(self.greeting)
        self.request.recv(100)


def test_a_recording_that_breaks_the_connection_is_given_up(
    tmp_path: Path, recording: Path
) -> None:
    """It fails after a few attempts, since it may be what crashes the server."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hangup) as server:
        threading.Thread(target=server.serve_forever).start()
        batch = Batch(tmp_path / "transcripts", f"http://127.0.0.1:{server.server_address[1]}")
        code, said = batch.run(recording)
        server.shutdown()

    assert (code, Hangup.asked) == (1, TRIES_AFTER_LOSS)
    assert "FAILED a.wav: the connection was lost" in said


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.6\r\n"])
def test_a_port_without_http_is_told(tmp_path: Path, recording: Path, greeting: bytes) -> None:
    """The message asks for the address at once. The server may be starting, so no file is marked
    as failed."""
    handler = type("Handler", (NoHttp,), {"greeting": greeting})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        batch = Batch(tmp_path / "transcripts", address)
        code, said = batch.run(recording, "--patience", "0.1")
        server.shutdown()

    trouble = f"{address} closes connections without an HTTP response: is the address right"
    assert (code, said.count(f"Retrying: {trouble}")) == (1, 1)
    assert "Run the same command again" in said
    assert batch.lines() == []


def test_unreadable_files_are_named(batch: Batch, script: Script, tmp_path: Path) -> None:
    """The others are transcribed."""
    script.answers = [OK]
    (tmp_path / "a.wav").write_bytes(noise(0.2))
    (tmp_path / "list").write_text(f"{tmp_path}/gone.wav\n{tmp_path}/a.wav\n")

    code, said = batch.run("--manifest", tmp_path / "list", "--base", tmp_path)

    assert code == 1
    assert "FAILED gone.wav: cannot be read: No such file or directory" in said
    assert (batch.output / "a.wav.json").exists()


def test_what_a_manifest_says_comes_with_the_transcript(
    batch: Batch, script: Script, recording: Path, tmp_path: Path
) -> None:
    """This allows joining results with other data; `truncated` is counted."""
    script.answers = [(200, {}, {**DIARIZED, "truncated": "loop"})]
    entry = {"path": str(recording), "id": 7, "language": "de"}
    (tmp_path / "list").write_text(json.dumps(entry))

    code, said = batch.run("--manifest", tmp_path / "list")

    assert (code, "1 transcript is incomplete" in said) == (0, True)
    assert f"incomplete: {str(recording)[1:]}: loop" in said
    (line,) = batch.lines()
    assert (line["manifest"], line["request"]) == ({"id": 7}, {"language": "de"})


def test_incomplete_transcripts_are_named(
    batch: Batch, script: Script, recording: Path, tmp_path: Path
) -> None:
    """The header has the reason as well; the summary says what a frequent one means. Later runs
    list them again."""
    (tmp_path / "b.wav").write_bytes(noise(0.3))
    unclear = (200, {"x-vibevoice-truncated": "unclear,loop"}, DIARIZED)
    script.answers = [unclear, (200, {}, {**DIARIZED, "truncated": "length"})]

    first = batch.run(recording, tmp_path / "b.wav", "--concurrency", "1")
    second = batch.run(recording, tmp_path / "b.wav")

    assert script.asked == 2
    for code, said in (first, second):
        assert code == 0
        assert "incomplete: a.wav: unclear,loop\n" in said
        assert "incomplete: b.wav: length\n" in said
        assert "the light recognizer only supports English" in said
        assert "2 transcripts are incomplete" in said


def round_of(limit: Limit, seconds: float) -> None:
    """As many responses as the limit, each for a second of audio."""
    sent = [limit.sent() for _ in range(limit.value)]
    for number in sent:
        limit.answered(number, 1.0, seconds)


def test_the_limit_doubles_while_that_pays() -> None:
    """A server with 32 slots responds more slowly above that: the limit finds 32 and stays
    there."""
    limit = Limit()
    tries, rest = [64] * FLAT_ROUNDS, [32] * ROUNDS_BETWEEN_TRIES
    for value in [START, 16, 32, *tries, *rest, *tries, *rest]:
        assert limit.value == value
        round_of(limit, max(1.0, value / 32))


def test_the_limit_follows_a_server_that_grows() -> None:
    """The limit is probed again after some rounds."""
    limit = Limit()
    for _ in range(3 * (FLAT_ROUNDS + ROUNDS_BETWEEN_TRIES)):
        round_of(limit, limit.value)
    assert limit.value in (START, 2 * START)
    for _ in range(3 * (FLAT_ROUNDS + ROUNDS_BETWEEN_TRIES)):
        round_of(limit, 1.0)
    assert limit.value == MOST


def test_the_limit_halves_once_for_a_round_of_refusals() -> None:
    """Requests sent at the same time are rejected for the same reason."""
    limit = Limit()
    sent = [limit.sent() for _ in range(START)]
    for number in sent:
        limit.busy(number)
    assert limit.value == START // 2
    for _ in range(10):
        limit.busy(limit.sent())
    assert limit.value == 1


def test_lengths_of_recordings_do_not_look_like_speed() -> None:
    """An hour takes sixty times as long as a minute, which does not mean that the server is
    slower."""
    limit = Limit()
    for number in range(8 * START):
        seconds = 3600.0 if number % 7 == 0 else 60.0
        limit.answered(limit.sent(), seconds, seconds * limit.value / 100)
    assert limit.value in (START, 2 * START)


def test_a_fixed_limit_stays() -> None:
    """Responses do not change a fixed limit."""
    limit = Limit(3)
    for _ in range(20):
        round_of(limit, 0.1)
        limit.busy(limit.sent())
    assert limit.value == 3
