"""The output folder can be anywhere, and files that the client did not write are never replaced."""

import json
import os
from pathlib import Path

import pytest
from tests.support.batch_client import OBEYS_PERMISSIONS, Batch
from tests.support.transcribing import Uploads


@pytest.fixture
def batch(calls: Batch) -> Batch:
    """The client, in a folder with `calls/a.wav` and `calls/sub/b.mp3`."""
    return calls


def files(folder: Path) -> set[str]:
    """All files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("given", "output", "transcripts"),
    [
        pytest.param(["calls"], "calls", {"calls/a.wav", "calls/sub/b.mp3"}, id="beside"),
        pytest.param(["calls"], ".", {"a.wav", "sub/b.mp3"}, id="above"),
        pytest.param(["calls"], "calls/out", {"calls/out/a.wav", "calls/out/sub/b.mp3"}, id="in"),
        pytest.param(["."], "calls/sub", {"calls/sub/calls/a.wav"}, id="in-a-folder-of-them"),
        pytest.param(["calls/a.wav"], "calls", {"calls/a.wav"}, id="a-file-beside"),
        pytest.param(["calls/*"], "calls", {"calls/a.wav", "calls/sub/b.mp3"}, id="glob"),
        pytest.param(["calls", "--all-files"], "calls", {"calls/a.wav"}, id="all-files"),
        pytest.param(["calls/**"], "link", {"calls/a.wav", "calls/sub/b.mp3"}, id="by-a-link"),
    ],
)
def test_the_output_may_lie_anywhere(
    batch: Batch, uploads: Uploads, given: list[str], output: str, transcripts: set[str]
) -> None:
    """Everything is transcribed once, and output files are not mistaken for recordings."""
    assert batch.cwd
    (batch.cwd / "link").symlink_to("calls")
    batch.output = Path(output)
    before = files(batch.cwd)

    code, said = batch.run(*given)
    assert code == 0, said
    written = files(batch.cwd) - before
    assert {f"{name}.json" for name in transcripts} <= written
    assert f"{os.path.normpath(batch.cwd / output)}/transcripts.jsonl" in map(
        str, map(batch.cwd.joinpath, {*written, "link/transcripts.jsonl"})
    )
    asked = len(uploads.names)
    assert asked == len({*uploads.contents})

    code, said = batch.run(*given)
    assert (code, len(uploads.names)) == (0, asked), said
    assert "0 transcribed" in said and f"{asked} done before" in said
    assert files(batch.cwd) == before | written


def test_an_earlier_output_is_no_input(batch: Batch, uploads: Uploads) -> None:
    """Earlier outputs are skipped wherever they are, and however the folder is specified."""
    assert batch.cwd
    batch.output = Path("calls/one")
    assert batch.run("calls", "--format", "json,txt")[0] == 0
    batch.output = Path("two")

    code, said = batch.run("calls", "calls/one/a.wav.txt", "calls/one/**", "--all-files")
    assert (code, len(uploads.names)) == (0, 4), said
    assert "files are skipped because this program wrote them" in said

    batch.output = Path("calls")
    requests = ("write-batch", "--requests", "calls/requests.jsonl", "calls", "--all-files")
    for _ in range(2):
        code, said = batch.run(*requests)
        assert (code, "2 requests" in said) == (0, True), said
    (batch.cwd / "calls" / "results.jsonl").write_text("")
    read = ("read-batch", "--results", "calls/results.jsonl", "calls", "--all-files")
    code, said = batch.run(*read)
    assert (code, "0 failed, 2 left, 0 done before" in said) == (1, True), said


@pytest.mark.parametrize("output", ["calls/a.wav", "calls/a.wav/x", "dangling"])
def test_an_output_that_is_no_folder_is_told(batch: Batch, uploads: Uploads, output: str) -> None:
    """Nothing is uploaded, and the recording is unchanged."""
    assert batch.cwd
    (batch.cwd / "dangling").symlink_to("nowhere/at/all")
    batch.output = Path(output)

    code, said = batch.run("calls")

    assert (code, uploads.names, len(said.splitlines())) == (2, [], 1), said
    assert "is not a folder" in said
    assert (batch.cwd / "calls" / "a.wav").read_bytes() == b"a"


@pytest.mark.parametrize("given", [["calls"], ["calls", "--all-files"], ["calls/a.wav"]])
def test_what_others_wrote_is_never_replaced(
    batch: Batch, uploads: Uploads, given: list[str]
) -> None:
    """Examples are notes next to a recording, and a recording with the name of a transcript."""
    assert batch.cwd
    batch.output = Path("calls")
    notes = batch.cwd / "calls" / "a.wav.json"
    notes.write_text("mine")

    code, said = batch.run(*given)

    assert code == 1
    assert "FAILED a.wav: calls/a.wav.json was not written by this program" in said
    assert b"a" not in uploads.contents
    assert notes.read_text() == "mine"
    notes.unlink()
    assert batch.run("calls")[0] == 0
    assert json.loads(notes.read_text())["text"] == "yes"


def test_a_format_asked_for_later_replaces_nothing_either(batch: Batch) -> None:
    """The other transcripts are written."""
    assert batch.cwd
    batch.output = Path("calls")
    assert batch.run("calls")[0] == 0
    (batch.cwd / "calls" / "a.wav.txt").write_text("mine")

    code, said = batch.run("calls", "--format", "txt,srt")

    assert (code, "FAILED a.wav: calls/a.wav.txt was not written by this program" in said) == (
        1,
        True,
    ), said
    assert (batch.cwd / "calls" / "a.wav.txt").read_text() == "mine"
    assert {"a.wav.srt", "sub/b.mp3.srt", "sub/b.mp3.txt"} <= files(batch.cwd / "calls")


def test_another_program_s_journal_is_never_touched(batch: Batch, uploads: Uploads) -> None:
    """A foreign file with the journal's name is never changed."""
    assert batch.cwd
    (batch.cwd / "transcripts").mkdir()
    other = batch.cwd / "transcripts" / "transcripts.jsonl"
    other.write_text('{"file": "x", "text": "mine"}\nand no end')

    code, said = batch.run("calls")

    assert (code, "was not written by this program: use another -o" in said) == (2, True), said
    assert other.read_text() == '{"file": "x", "text": "mine"}\nand no end'
    assert uploads.names == []


def test_names_that_differ_little_are_kept_apart(batch: Batch, uploads: Uploads) -> None:
    """Names may differ only in extension or in case."""
    assert batch.cwd
    for name in ("a.mp3", "A.wav", "a", "a.wav.wav"):
        (batch.cwd / "calls" / name).write_bytes(f"is {name}".encode())

    code, said = batch.run("calls", "--all-files")

    assert (code, len(uploads.names)) == (0, 6), said
    assert {"a.wav.json", "a.mp3.json", "A.wav.json", "a.json", "a.wav.wav.json"} <= files(
        batch.cwd / "transcripts"
    )


def test_another_file_of_the_same_name_replaces_nothing(batch: Batch, uploads: Uploads) -> None:
    """Two runs write to the same output from different folders; identical content is allowed."""
    assert batch.cwd
    for name, content in (("a.wav", b"another"), ("c.wav", b"a")):
        (batch.cwd / "more").mkdir(exist_ok=True)
        (batch.cwd / "more" / name).write_bytes(content)
    assert batch.run("calls")[0] == 0
    path = str(batch.cwd / "calls" / "a.wav")

    for _ in range(2):
        code, said = batch.run("more")
        assert (code, f"FAILED a.wav: its transcript would replace that of {path}" in said) == (
            1,
            True,
        ), said
    assert len(uploads.names) == 2
    assert batch.run("calls")[0] == 0
    (batch.cwd / "calls" / "a.wav").unlink()
    assert batch.run("more")[0] == 0
    assert uploads.contents[-1] == b"another"


def test_a_changed_file_of_the_same_size_and_time_elsewhere_is_read(
    batch: Batch, uploads: Uploads
) -> None:
    """Size and time alone do not identify a file elsewhere."""
    assert batch.cwd
    assert batch.run("calls/a.wav")[0] == 0
    stat = (batch.cwd / "calls" / "a.wav").stat()
    (batch.cwd / "moved").mkdir()
    (batch.cwd / "calls" / "a.wav").rename(batch.cwd / "moved" / "old.wav")
    (batch.cwd / "moved" / "a.wav").write_bytes(b"z")
    os.utime(batch.cwd / "moved" / "a.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))

    code, said = batch.run("moved/a.wav")

    assert (code, uploads.contents) == (0, [b"a", b"z"]), said


def test_a_folder_that_cannot_be_written_costs_its_own_files_only(
    batch: Batch, uploads: Uploads
) -> None:
    """Affected files are reported with the reason, and are written once that is possible."""
    assert batch.cwd
    batch.output = Path("calls")
    batch.prefix = OBEYS_PERMISSIONS
    closed = batch.cwd / "calls" / "sub"
    closed.chmod(0o555)
    try:
        code, said = batch.run("calls")
    finally:
        closed.chmod(0o755)

    assert (code, "1 transcribed" in said, "1 failed" in said) == (1, True, True), said
    assert "FAILED sub/b.mp3: transcribed, but its file cannot be written: Permission" in said
    code, said = batch.run("calls")
    assert (code, len(uploads.names)) == (0, 2), said
    assert "sub/b.mp3.json" in files(batch.cwd / "calls")


def test_an_output_that_cannot_be_written_is_told(batch: Batch, uploads: Uploads) -> None:
    """Nothing is uploaded if its transcript could not be saved."""
    assert batch.cwd
    batch.prefix = OBEYS_PERMISSIONS
    (batch.cwd / "transcripts").mkdir(mode=0o555)

    code, said = batch.run("calls")

    assert (code, uploads.names) == (1, []), said
    assert "transcripts/transcripts.jsonl: Permission denied" in said


def test_a_full_disk_ends_the_run(batch: Batch, uploads: Uploads) -> None:
    """The reason and the summary are shown, the journal is intact, and the next run continues."""
    assert batch.cwd
    for number in range(20):
        (batch.cwd / "calls" / f"{number}.wav").write_bytes(bytes([number]))
    batch.prefix = ["prlimit", "--fsize=3000"]

    code, said = batch.run("calls", "--concurrency", "1")

    assert (code, "transcripts.jsonl: File too large" in said) == (1, True), said
    assert "Run the same command again" in said
    done = len(uploads.names) - 1
    assert 0 < done < 20
    assert f"{done} transcribed" in said and f"{22 - done} left" in said
    whole = (batch.cwd / "transcripts" / "transcripts.jsonl").read_text().splitlines()
    assert [json.loads(line)["file"] for line in whole] and len(whole) == done
    batch.prefix = []
    assert batch.run("calls")[0] == 0
    assert len(uploads.names) == 23


def test_names_may_be_as_long_as_the_file_system_takes(batch: Batch, uploads: Uploads) -> None:
    """The names of their transcripts are cut to unique names, and are found again."""
    assert batch.cwd
    names = ["é" * 125 + end for end in ("1.wav", "2.wav")] + ["x" * 250 + ".wav"]
    for name in names:
        assert len(os.fsencode(name)) in (254, 255)
        (batch.cwd / "calls" / name).write_bytes(name.encode())

    code, said = batch.run("calls", "--format", "json,txt")
    assert code == 0, said
    written = files(batch.cwd / "transcripts")
    assert len(written) == 2 * 5 + 1
    (batch.cwd / "transcripts" / max(written)).unlink()
    code, said = batch.run("calls", "--format", "json,txt")
    assert (code, len(uploads.names), files(batch.cwd / "transcripts")) == (0, 5, written), said


@pytest.mark.parametrize(
    "name",
    [b"-o.wav", b"two\nlines.wav", b"gr\xfc\xdfe.wav", b"  .wav", b"[1].wav", b"{1}.wav", b"#1.wav"]
    + [b'"q".wav', b"\x1b[2J.wav", b"*.wav", b"back\\slash.wav", "\U0001f3b5.wav".encode()],
)
def test_names_may_hold_anything(batch: Batch, uploads: Uploads, name: bytes) -> None:
    """Such names work in a folder, as an argument, in a pattern and in a manifest; terminals
    receive no control characters."""
    assert batch.cwd
    folder = batch.cwd / "odd"
    folder.mkdir()
    path = folder / os.fsdecode(name)
    path.write_bytes(b"odd")

    for number, (given, stdin) in enumerate(
        [("odd", b""), (f"./odd/{os.fsdecode(name)}", b""), ("odd/*", b""), ("-", name + b"\0")]
    ):
        batch.output = Path(f"out{number}")
        if given == "-":
            batch.cwd = folder
        code, said = batch.run(given, stdin=stdin)
        assert (code, uploads.contents[number:]) == (0, [b"odd"]), said
        assert (batch.cwd / batch.output / os.fsdecode(name + b".json")).exists()
    path.unlink()
    code, said = batch.run("-", stdin=name + b"\0./gone/" + name + b"\0")
    assert code == 1
    assert "\x1b" not in said and "two\nlines" not in said


def test_an_answer_that_no_file_can_hold_as_it_is_is_kept(
    tmp_path: Path, batch: Batch, uploads: Uploads
) -> None:
    """The text may contain a lone surrogate."""
    uploads.text = "one \ud83d two"

    code, said = batch.run("calls", "--format", "json,srt")

    assert code == 0, said
    assert json.loads((tmp_path / "transcripts" / "a.wav.json").read_text())["text"] == "one ? two"
