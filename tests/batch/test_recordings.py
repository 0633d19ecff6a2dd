"""Which recordings the batch client includes, their names, and what the journal keeps."""

import json
from pathlib import Path

import pytest

from vibevoice_batch.errors import InputError
from vibevoice_batch.inputs import find
from vibevoice_batch.journal import Content, Journal, JournalError
from vibevoice_batch.manifests import Manifest, parse
from vibevoice_batch.products import Products
from vibevoice_batch.recordings import Recording


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with recordings, other files, and hidden files."""
    for name in ("x/a.wav", "x/deep/b.MP3", "x/notes.txt", "x/.hidden.wav", "y/a.wav"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return tmp_path


def names(*inputs: Path | str, **options: object) -> list[str]:
    """The names of the recordings in `inputs`."""
    return [r.name for r in find(map(str, inputs), **options).recordings]  # type: ignore[arg-type]


def manifest(*lines: str) -> list[Manifest]:
    """A manifest named list, in the working directory."""
    return [parse("list", "\n".join(lines).encode(), Path.cwd())]


def test_a_folder_is_mirrored(tree: Path) -> None:
    """Names are relative to the folder; other files are listed separately."""
    found = find([str(tree / "x")])

    assert [recording.name for recording in found.recordings] == ["a.wav", "deep/b.MP3"]
    assert found.skipped == [tree / "x" / "notes.txt"]
    assert names(tree / "x", all_files=True) == ["a.wav", "notes.txt", "deep/b.MP3"]


def test_files_and_globs_are_taken_whatever_they_are_called(tree: Path) -> None:
    """The name is relative to the file's folder, or to the part before the first wildcard."""
    assert names(tree / "x/notes.txt") == ["notes.txt"]
    assert names(tree / "x/**/*.MP3") == ["deep/b.MP3"]
    assert names(tree / "x/de*/b*") == ["deep/b.MP3"]


def test_a_file_given_twice_is_one_recording(tree: Path) -> None:
    """A file counts once, however it is specified."""
    assert names(tree / "x", tree / "x/a.wav", tree / "x/deep/../a.wav") == ["a.wav", "deep/b.MP3"]


def test_two_files_of_one_name_need_a_base(tree: Path) -> None:
    """Without a base, the transcript of one would overwrite the other's."""
    with pytest.raises(InputError, match="would both be named a.wav: set --base"):
        names(tree / "x", tree / "y")
    assert names(tree / "x", tree / "y", base=tree) == ["x/a.wav", "x/deep/b.MP3", "y/a.wav"]


def test_what_runs_wrote_is_left_out(tree: Path) -> None:
    """Outputs are skipped wherever the folder of transcripts is; recordings in it are included."""
    with Journal(tree / "y") as journal:
        _add(journal, "a.wav", "1")
    for name in ("a.wav.json", "a.wav.docx", "b.wav.json"):
        (tree / "y" / name).touch()

    found = find([str(tree / "y")], all_files=True, products=Products())

    assert [recording.name for recording in found.recordings] == [
        "a.wav",
        "a.wav.docx",
        "b.wav.json",
    ]
    assert found.ours == [tree / "y" / name for name in ("a.wav.json", "transcripts.jsonl")]


def test_a_manifest_names_paths_and_fields(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to the working directory; a line's fields win; other keys are kept."""
    monkeypatch.chdir(tree)
    line = {"path": "x/deep/b.MP3", "hotwords": "Zürich", "keywords": ["a", "b"], "id": 7}

    found = find([], manifest("x/a.wav", "", json.dumps(line)), defaults={"prompt": "p"})

    first, second = found.recordings
    assert (first.name, first.fields) == ("x/a.wav", {"prompt": "p"})
    assert second.fields == {"prompt": "p", "hotwords": "Zürich", "keywords": ["a", "b"]}
    assert (second.name, second.metadata) == ("x/deep/b.MP3", {"id": 7})


def test_a_manifest_tells_of_files_given_otherwise(tree: Path) -> None:
    """A line also applies to a file found in a folder; two lines must not contradict each other."""
    line = json.dumps({"path": str(tree / "x/a.wav"), "prompt": "Bonn"})
    found = find([str(tree / "x")], manifest(line, line, str(tree / "x/a.wav")))
    assert [(one.name, one.fields) for one in found.recordings] == [
        ("a.wav", {"prompt": "Bonn"}),
        ("deep/b.MP3", {}),
    ]
    with pytest.raises(InputError, match="listed twice in the manifests"):
        find([], manifest(line, line.replace("Bonn", "Bern")))


def test_no_name_leads_out_of_the_output(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path outside of the base keeps all its folders."""
    monkeypatch.chdir(tree / "x")
    (recording,) = find([], manifest("../y/a.wav")).recordings

    assert recording.name == (tree / "y" / "a.wav").relative_to("/").as_posix()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('{"path": ', id="torn"),
        pytest.param('{"file": "a.wav"}', id="no-path"),
        pytest.param('{"path": 7}', id="path-is-a-number"),
        pytest.param('{"path": "a.wav", "hotwords": ["a"]}', id="field-is-a-list"),
    ],
)
def test_a_wrong_line_of_a_manifest_is_named(line: str) -> None:
    """The message includes the line's number."""
    with pytest.raises(InputError, match="^list, line 2"):
        find([], manifest("a.wav", line))


def _add(journal: Journal, name: str, sha256: str, **result: object) -> None:
    recording = Recording(name, Path("/nowhere", name))
    transcript = {"transcript": {"text": name}, **result}
    journal.add(recording, Content(1, 2, sha256), transcript, ["json"])


def _of(journal: Journal, name: str) -> str | None:
    entry = journal.entry(Recording(name, Path("/nowhere", name)))
    return journal.transcript(entry)["text"] if entry else None


@pytest.mark.parametrize("torn", range(1, 120, 17))
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: int) -> None:
    """After a kill at any byte of a write, earlier lines count, and the next one starts on a new
    line."""
    with Journal(tmp_path) as journal:
        _add(journal, "a", "1")
        _add(journal, "b", "2")
        whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-torn])

    with Journal(tmp_path) as journal:
        assert (_of(journal, "a"), _of(journal, "b")) == ("a", None)
        _add(journal, "b", "2")
    assert journal.path.read_bytes() == whole


def test_a_broken_line_in_the_middle_loses_only_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The invalid line is reported, and removed at the end of the run."""
    with Journal(tmp_path) as journal:
        _add(journal, "a", "1")
        first = journal.path.read_bytes()
        _add(journal, "b", "2")
    journal.path.write_bytes(first + b"\0\0\0\n" + journal.path.read_bytes()[len(first) :])

    with Journal(tmp_path) as journal:
        assert (_of(journal, "a"), _of(journal, "b")) == ("a", "b")
        journal.compact()
    assert "line 2 is invalid" in caplog.text
    assert len(journal.path.read_bytes().splitlines()) == 2


def test_names_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    """On Linux, a file name is a sequence of bytes."""
    name = b"gr\xfc\xdfe.wav".decode(errors="surrogateescape")
    with Journal(tmp_path) as journal:
        _add(journal, name, "1")
    with Journal(tmp_path) as journal:
        assert _of(journal, name) == name


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    """The lock is released when its process exits."""
    with Journal(tmp_path):
        with pytest.raises(JournalError, match="another run is writing"), Journal(tmp_path):
            pass
    with Journal(tmp_path):
        pass
