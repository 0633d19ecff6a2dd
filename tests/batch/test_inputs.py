"""Each input file is transcribed, or named with the reason, and the exit code shows which."""

import os

import pytest
from tests.support.batch_client import OBEYS_PERMISSIONS, Batch
from tests.support.transcribing import Uploads

from vibevoice_batch.globs import leads, matches


@pytest.fixture
def batch(calls: Batch) -> Batch:
    """The client, in a folder with `calls/a.wav` and `calls/sub/b.mp3`."""
    return calls


@pytest.mark.parametrize(
    "arguments",
    [
        [""],
        ["calls", ""],
        ["--manifest", ""],
        ["calls", "--base", ""],
        ["calls", "--base", "nowhere"],
        ["--", ""],
        ["calls", "--base-url", ""],
        ["calls", "--ca-file", ""],
        ["calls", "--model", ""],
        ["calls", "--format", " ,"],
        ["calls", "--limit", ""],
        ["calls", "--timeout", ""],
        ["calls", "--output", ""],
        ["calls", "--patience", "nan"],
        ["calls", "--timeout", "-1"],
        ["calls", "--prompt", os.fsdecode(b"\xff")],
        ["calls", "--model", os.fsdecode(b"\xff")],
        ["write-batch", "calls", "--requests", ""],
        ["read-batch", "calls", "--results", ""],
        ["read-batch", "calls", "--results", "nowhere"],
        ["read-batch", "calls", "--results", "calls/a.wav"],
        ["write-batch", "calls", "--requests", "calls/a.wav"],
        ["write-batch", "calls", "--requests", "calls"],
        ["write-batch", "calls", "--requests", "nowhere/requests.jsonl"],
    ],
)
def test_empty_and_wrong_arguments_are_usage_errors(
    batch: Batch, uploads: Uploads, arguments: list[str]
) -> None:
    """Nothing is uploaded, especially not the working directory."""
    assert batch.cwd
    code, said = batch.run(*arguments)

    assert code == 2, said
    assert "vibevoice-transcribe" in said.splitlines()[-1] and "Traceback" not in said
    assert uploads.names == []
    assert (batch.cwd / "calls" / "a.wav").read_bytes() == b"a"
    assert not (batch.cwd / "transcripts").exists()


def test_options_may_stand_between_files(batch: Batch, uploads: Uploads) -> None:
    """Options and files may come in any order; everything after -- is a file."""
    assert batch.cwd
    (batch.cwd / "-o.wav").write_bytes(b"o")
    code, said = batch.run("calls/a.wav", "--format", "txt", "calls/sub/b.mp3")
    assert (code, sorted(uploads.contents)) == (0, [b"a", b"b"]), said

    code, said = batch.run("--", "-o.wav")
    assert (code, uploads.contents[2:]) == (0, [b"o"]), said


@pytest.mark.parametrize("obstacle", ["folder", "listing", "file"])
@pytest.mark.parametrize("given", ["calls", "calls/**/*.mp3", "calls/*/*.mp3"])
def test_what_cannot_be_read_is_named(
    batch: Batch, uploads: Uploads, given: str, obstacle: str
) -> None:
    """Folders and files that cannot be read are reported; the rest is transcribed."""
    assert batch.cwd
    batch.prefix = OBEYS_PERMISSIONS
    (batch.cwd / "calls" / "open").mkdir()
    (batch.cwd / "calls" / "open" / "c.mp3").write_bytes(b"c")
    sub = batch.cwd / "calls" / "sub"
    mode = {"folder": 0o000, "listing": 0o644, "file": 0o755}[obstacle]
    (sub / "b.mp3").chmod(0o000)
    sub.chmod(mode)
    try:
        code, said = batch.run(given)
    finally:
        sub.chmod(0o755)

    name = str(sub) if obstacle == "folder" else "sub/b.mp3"
    assert code == 1
    assert f"FAILED {name}: cannot be read: Permission denied" in said, said
    assert "1 failed" in said.splitlines()[-1]
    assert b"c" in uploads.contents


def test_links_are_followed_and_loops_end(batch: Batch, uploads: Uploads) -> None:
    """Each folder is read once; broken links and links to themselves are reported."""
    assert batch.cwd
    calls = batch.cwd / "calls"
    (batch.cwd / "elsewhere").mkdir()
    (batch.cwd / "elsewhere" / "c.wav").write_bytes(b"c")
    for name, target in (
        ("linked", "../elsewhere"),
        ("loop", "."),
        ("sub/up", "../.."),
        ("again", "sub"),
        ("gone.wav", "nowhere"),
        ("unmounted", "nowhere"),
        ("self.wav", "self.wav"),
    ):
        (calls / name).symlink_to(target)
    os.mkfifo(calls / "pipe.wav")

    code, said = batch.run("calls")

    assert (code, sorted(uploads.contents)) == (1, [b"a", b"b", b"c"]), said
    assert f"FAILED {calls}/gone.wav: is a link to nowhere, which does not exist" in said
    assert f"FAILED {calls}/unmounted: is a link to nowhere" in said
    assert f"FAILED {calls}/self.wav: cannot be read: Too many levels of symbolic links" in said
    assert f"FAILED {calls}/pipe.wav: is not a file but a pipe" in said
    assert "links lead to files" in said
    assert "3 transcribed (0 as copies of another), 4 failed" in said


def test_two_loops_do_not_make_a_pattern_endless(batch: Batch, uploads: Uploads) -> None:
    """Two loops give more paths than there are atoms in the universe."""
    assert batch.cwd
    for name in ("one", "two", "three"):
        (batch.cwd / "calls" / name).symlink_to(".")

    code, said = batch.run("calls/**/*")

    assert (code, sorted(uploads.contents)) == (0, [b"a", b"b"]), said


def test_a_link_before_two_dots_is_followed_first(batch: Batch, uploads: Uploads) -> None:
    """Paths with `..` are resolved as the system resolves them, not textually."""
    assert batch.cwd
    (batch.cwd / "far" / "deep").mkdir(parents=True)
    (batch.cwd / "far" / "a.wav").write_bytes(b"far")
    (batch.cwd / "a.wav").write_bytes(b"near")
    (batch.cwd / "link").symlink_to("far/deep")

    code, said = batch.run("link/../a.wav")

    assert (code, uploads.contents) == (0, [b"far"]), said


def test_hidden_files_are_told(batch: Batch, uploads: Uploads) -> None:
    """Hidden files are reported, and included if they are listed as inputs."""
    assert batch.cwd
    (batch.cwd / "calls" / ".h.wav").write_bytes(b"h")

    code, said = batch.run("calls")
    assert (code, len(uploads.names)) == (0, 2), said
    assert "1 hidden file or folder is skipped (" in said and "to include it" in said
    assert batch.run("calls/.h*")[0] == 0
    assert uploads.contents[-1] == b"h"


@pytest.mark.parametrize("given", [["empty"], ["empty", "--all-files"], ["calls", "empty"]])
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_folder_without_recordings_is_no_success(
    batch: Batch, given: list[str], dry: list[str]
) -> None:
    """An empty folder is an error: it may be a disk that is not mounted."""
    assert batch.cwd
    (batch.cwd / "empty").mkdir()

    code, said = batch.run(*given, *dry)

    assert (code, "FAILED empty: contains no recordings" in said) == (1, True), said


def test_an_input_that_is_not_there_costs_itself_only(batch: Batch, uploads: Uploads) -> None:
    """A missing input only fails itself: it may have been deleted after a shell listed it. If no
    input exists, this is a usage error."""
    code, said = batch.run("calls/gone.wav", "calls", "nothing*")

    assert (code, len(uploads.names)) == (1, 2), said
    assert "FAILED calls/gone.wav: is neither a file, a folder, nor a glob" in said
    assert "FAILED nothing*: does not exist, and no file matches it" in said
    assert batch.run("calls/gone.wav", "nothing*")[0] == 2


def test_the_summary_counts_everything(batch: Batch, uploads: Uploads) -> None:
    """The summary counts transcribed, previously done, postponed and failed files, with each
    reason."""
    assert batch.cwd
    assert batch.run("calls", "--limit", "1")[0] == 0
    (batch.cwd / "calls" / "c.wav").symlink_to("gone")

    code, said = batch.run("calls")

    assert code == 1
    assert said.splitlines()[-1] == (
        "1 transcribed (0 as copies of another), 1 failed, 0 left, 1 done before; "
        "transcripts in transcripts"
    )
    (batch.cwd / "calls" / "d.wav").write_bytes(b"d")
    (batch.cwd / "calls" / "e.wav").write_bytes(b"e")
    code, said = batch.run("calls", "--limit", "1", "--dry-run")
    assert "4 recordings, 1 to do (0.0 MB), 1 for later runs (--limit)" in said


@pytest.mark.parametrize(
    ("pattern", "path", "means", "leads_to"),
    [
        ("*.wav", "a.wav", True, False),
        ("*.wav", ".a.wav", False, False),
        (".*", ".a.wav", True, False),
        ("**", "x/y/a.wav", True, True),
        ("**/*.wav", "a.wav", True, True),
        ("**/*.wav", "x/y/a.wav", True, True),
        ("**/*.wav", "x/.y/a.wav", False, False),
        ("x*/y/*.wav", "x1/y/a.wav", True, False),
        ("x*/y/*.wav", "x1/y", False, True),
        ("x*/y/*.wav", "z/y", False, False),
        ("a/**/b/*", "a/1/2/b/c", True, True),
        ("a/**/b/*", "a/b/c", True, True),
        ("[!a]*", "b", True, False),
    ],
)
def test_patterns_mean_what_shells_mean(
    pattern: str, path: str, means: bool, leads_to: bool
) -> None:
    """No more folders than necessary are searched."""
    parts, wildcards = path.split("/"), pattern.split("/")

    assert (matches(parts, wildcards), leads(parts, wildcards)) == (means, leads_to)
