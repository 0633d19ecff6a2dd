"""`vibevoice-transcribe` as users run it: as a process, with the real proxy and a fake engine."""

import contextlib
import json
import signal
from collections import Counter
from pathlib import Path

import httpx2
import psutil
import pytest
from tests.support.batch_client import Batch, noise
from tests.support.fakes import FakeEngine, StartProxy
from tests.support.processes import wait_for

pytest_plugins = ("tests.support.proxy_fixtures",)

GOOD = ["a.wav", "b.wav", "inner/c.wav", "same.wav"]


def test_a_thousand_files_killed_three_times(
    batch: Batch, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    """Every valid file has exactly its own transcript, and every invalid one is named."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    bad = {f"{number:03}.wav" for number in range(7, 1000, 50)}
    seconds = {}
    with (tmp_path / "manifest.jsonl").open("w") as manifest:
        for number in range(1000):
            file = folder / f"{number:03}.wav"
            seconds[file.name] = 0.1 + number / 8000
            file.write_bytes(b"no audio" if file.name in bad else noise(seconds[file.name]))
            # The engine receives the file's name as a hotword.
            print(json.dumps({"path": str(file), "hotwords": file.name}), file=manifest)
    at_once = 16
    arguments = ["--manifest", manifest.name, "--base", folder, "--format", "json,srt"]
    arguments += ["--concurrency", str(at_once)]
    fake_engine.seconds = 0.05
    fake_engine.stall_after = 0

    def run_until(asked: int) -> None:
        """Kill the client while all its requests are in the engine."""
        fake_engine.stall_if = lambda _: fake_engine.asked >= asked
        with batch.start(*arguments) as process:
            wait_for(lambda: fake_engine.asked >= asked and fake_engine.at_once == at_once)
        assert process.returncode == -signal.SIGKILL
        wait_for(lambda: fake_engine.at_once == 0)

    for asked in (200, 400, 600):
        run_until(asked)
    fake_engine.stall_after = None
    code, said = batch.run(*arguments)

    assert code == 1
    lines = {line["file"]: line for line in batch.lines()}
    assert len(batch.lines()) == len(lines) == 1000
    assert {name for name, line in lines.items() if "error" in line} == bad
    for name in bad:
        reported = said.count(f" {name}: The file could not be decoded as audio")
        assert reported == 1, f"{name} failed in this run or in an earlier one"
    assert f"later runs skip {len(bad)} rejected recordings" in said
    good = set(seconds) - bad
    for name in good:
        transcript = json.loads((batch.output / f"{name}.json").read_text())
        assert transcript == lines[name]["transcript"]
        assert transcript["duration"] == pytest.approx(seconds[name], abs=1e-3)
        assert (batch.output / f"{name}.srt").read_text().startswith("1\n00:00:00,000 -->")
    left_over = [path for path in batch.output.rglob("*") if path.suffix == ".part"]
    assert len(list(batch.output.iterdir())) == 2 * len(good) + 1 + len(left_over)
    texts = (request["messages"][1]["content"][1]["text"] for request in fake_engine.requests)
    asked = Counter(text.split("extra info: ")[1].split()[0] for text in texts)
    assert set(asked) == good
    # Only requests that were in flight when the client was killed may have been repeated.
    assert fake_engine.most_at_once <= at_once
    assert sum(asked.values()) - len(good) <= 3 * at_once


def test_the_tree_is_mirrored_in_every_format(batch: Batch, recordings: Path) -> None:
    """Subtitles are identical to those that the proxy writes itself."""
    code, said = batch.run(recordings, "--format", "json,srt,vtt,txt")

    assert code == 1
    assert "FAILED bad.mp3: The file could not be decoded as audio" in said
    assert said.count("bad.mp3") == 1
    for name in GOOD:
        for format in ("srt", "vtt"):
            with (recordings / name).open("rb") as file:
                answer = httpx2.post(
                    f"{batch.url}/v1/audio/transcriptions",
                    files={"file": file},
                    data={"response_format": format},
                    timeout=60,
                )
            assert (batch.output / f"{name}.{format}").read_text() == answer.text
        assert (batch.output / f"{name}.txt").read_text() == "A: Good morning.\nB: Hello.\n"
        assert json.loads((batch.output / f"{name}.json").read_text())["segments"]
    assert not list(batch.output.glob("bad*"))


def test_equal_files_are_transcribed_once(
    batch: Batch, recordings: Path, fake_engine: FakeEngine
) -> None:
    """The transcript is written for each identical file."""
    batch.run(recordings, "--format", "txt")

    assert fake_engine.asked == 3
    texts = [(batch.output / f"{name}.txt").read_text() for name in ("a.wav", "same.wav")]
    assert texts[0] == texts[1] != ""


def test_what_is_done_is_not_asked_for_again(
    batch: Batch, recordings: Path, fake_engine: FakeEngine
) -> None:
    """Neither transcripts nor rejections are requested again; the journal provides new formats."""
    batch.run(recordings)
    (batch.output / "b.wav.json").unlink()
    asked = fake_engine.asked

    code, said = batch.run(recordings, "--format", "json,vtt")

    assert (code, fake_engine.asked) == (1, asked)
    assert "5 recordings, 0 to do" in said
    assert "0/0" not in said
    assert "failed earlier: bad.mp3: The file could not be decoded as audio" in said
    assert "skip 1 rejected recording, unless you pass --retry-failed" in said
    assert all((batch.output / f"{name}.vtt").exists() for name in GOOD)
    assert (batch.output / "b.wav.json").exists()


def test_changed_and_refused_files_are_asked_for_again(
    batch: Batch, recordings: Path, fake_engine: FakeEngine
) -> None:
    """Changed recordings are always transcribed again, rejected ones on request; the journal then
    has one line for each."""
    batch.run(recordings)
    (recordings / "b.wav").write_bytes(noise(0.9))
    (recordings / "bad.mp3").write_bytes(noise(0.8))
    asked = fake_engine.asked

    code, _ = batch.run(recordings, "--retry-failed")

    assert (code, fake_engine.asked - asked) == (0, 2)
    lines = {line["file"]: line for line in batch.lines()}
    assert len(lines) == len(batch.lines()) == 5
    assert lines["b.wav"]["transcript"]["duration"] == pytest.approx(0.9)
    assert "transcript" in lines["bad.mp3"]


def test_another_prompt_is_another_request(
    batch: Batch, recordings: Path, fake_engine: FakeEngine
) -> None:
    """A transcript made with other words is not reused."""
    batch.run(recordings / "a.wav", recordings / "same.wav")
    batch.run(recordings / "a.wav", recordings / "same.wav", "--hotwords", "Zürich")

    assert fake_engine.asked == 2
    assert "Zürich" in fake_engine.requests[-1]["messages"][1]["content"][1]["text"]


def test_a_full_server_is_waited_for(
    start_proxy: StartProxy, recordings: Path, tmp_path: Path
) -> None:
    """With one slot and no queue, all others get 429, and finally a transcript."""
    url = start_proxy(max_concurrency=1, max_queue=0)

    code, said = Batch(tmp_path / "out", url).run(recordings / "a.wav", recordings / "b.wav")

    assert (code, "2 transcribed" in said) == (0, True)


def test_a_wrong_key_ends_the_run(
    start_proxy: StartProxy, recordings: Path, tmp_path: Path
) -> None:
    """No file is marked as failed, and with the right key the run continues."""
    batch = Batch(tmp_path / "out", start_proxy(api_keys="secret"))

    code, said = batch.run(recordings, VIBEVOICE_API_KEY="guessed")
    assert code == 1
    assert "returned 401" in said and "then run the command again" in said
    assert batch.lines() == []
    assert batch.run(recordings / "a.wav", VIBEVOICE_API_KEY="secret")[0] == 0


def test_another_model_is_another_request(
    start_proxy: StartProxy, recordings: Path, fake_engine: FakeEngine, tmp_path: Path
) -> None:
    """The run says so. Naming the default model changes nothing."""
    batch = Batch(tmp_path / "out", start_proxy())
    arguments = (recordings / "a.wav", recordings / "b.wav")
    batch.run(*arguments)
    code, said = batch.run(*arguments, "--model", "whisper-1")
    assert (code, fake_engine.asked, "2 done before" in said) == (0, 2, True), said
    assert "request" not in batch.lines()[0]

    code, said = batch.run(*arguments, "--model", "vibevoice")
    assert (code, fake_engine.asked) == (0, 4), said
    assert "2 of them have a transcript, but the file or an option has changed since" in said
    assert batch.lines()[0]["request"] == {"model": "vibevoice"}
    code, said = batch.run(*arguments, "--model", "vibevoice")
    assert (code, fake_engine.asked, "2 done before" in said) == (0, 4, True), said


def test_a_wrong_model_ends_the_run(
    start_proxy: StartProxy, recordings: Path, tmp_path: Path
) -> None:
    """The run says which option to set."""
    batch = Batch(tmp_path / "out", start_proxy(strict_model_names=True))

    code, said = batch.run(recordings, "--model", "whisper-99")

    assert (code, batch.lines()) == (1, [])
    assert "expected vibevoice, or one of the other names" in said
    assert "(set --model)" in said and "base URL" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "no input", id="nothing"),
        pytest.param(["/no/such/folder"], "neither a file, a folder, nor a glob", id="missing"),
        pytest.param(["*.wav"], "no file matches", id="glob"),
        pytest.param(
            [".", "--format", "docx"], "expected one or more of json,srt,vtt,txt", id="format"
        ),
        pytest.param([".", "--base-url", "localhost"], "expected a URL like", id="url"),
        pytest.param([".", "--base-url", "http://a:x"], "the base URL is invalid", id="port"),
        pytest.param(
            [".", "--concurrency", "0"], "expected a whole number of at least 1", id="concurrency"
        ),
    ],
)
def test_wrong_usage_is_told(tmp_path: Path, arguments: list[str], message: str) -> None:
    """The exit code is 2, and the message says what was expected."""
    code, said = Batch(tmp_path / "out").run(*arguments)

    assert (code, message in said) == (2, True)


def test_a_dry_run_touches_nothing(batch: Batch, recordings: Path) -> None:
    """A dry run only reports what a run would do."""
    code, said = batch.run(recordings, "--dry-run")

    assert (code, "5 recordings, 5 to do" in said) == (0, True)
    assert not batch.output.exists()


def test_uploads_are_never_in_memory(batch: Batch, tmp_path: Path) -> None:
    """Uploading 400 MB to a server that rejects it takes the client no additional memory."""
    with (tmp_path / "long.wav").open("wb") as file:
        file.truncate(400_000_000)
    sizes: list[int] = []
    with batch.start(tmp_path / "long.wav") as process:

        def ended() -> bool:
            with contextlib.suppress(psutil.Error):
                sizes.append(psutil.Process(process.pid).memory_info().rss)
            return process.poll() is not None

        wait_for(ended, 300)
        _, said = process.communicate()

    assert "FAILED long.wav: The file could not be decoded" in said
    assert 0 < max(sizes) < 150_000_000
