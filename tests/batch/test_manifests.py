"""Manifests in the formats that programs write."""

import codecs
import json
import unicodedata
from pathlib import Path

import pytest
from tests.support.batch_client import Batch
from tests.support.transcribing import Uploads, transcribing

from vibevoice_batch.errors import InputError
from vibevoice_batch.inputs import find
from vibevoice_batch.manifests import parse

NAMES = ["a.wav", "b c.wav", "grün.wav"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with recordings."""
    monkeypatch.chdir(tmp_path)
    for name in [*NAMES, "d/e.wav", "#1.wav", "{2}.wav", "[3].wav", " 4 .wav", "'5'.wav"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def taken(data: bytes, folder: Path) -> list[str]:
    """The names of the recordings in a manifest."""
    found = find([], [parse("list", data, folder)])
    assert found.problems == []
    assert all(recording.path.is_file() for recording in found.recordings), found.recordings
    return [recording.name for recording in found.recordings]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "  \r\n", "\n\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_any_unicode_and_any_end_of_line(folder: Path, encoding: str, end: str) -> None:
    """Manifests may have a byte order mark, and the last line may lack its ending."""
    for text in (end.join(NAMES), end.join([*NAMES, ""])):
        assert taken(text.encode(encoding), folder) == NAMES


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_marks_of_other_encodings(folder: Path, mark: bytes, encoding: str) -> None:
    """UTF-32's byte order mark begins with UTF-16's."""
    assert taken(mark + "grün.wav".encode(encoding), folder) == ["grün.wav"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('"b c.wav"', "b c.wav"),
        ("'b c.wav'", "b c.wav"),
        ('  "b c.wav"  ', "b c.wav"),
        (r'"gr\u00fcn.wav"', "grün.wav"),
        ("b c.wav \t", "b c.wav"),
        ("./a.wav", "a.wav"),
        ("d/../a.wav", "a.wav"),
        (r"d\e.wav", "d/e.wav"),
        ("file://{cwd}/b%20c.wav", "b c.wav"),
        ("{cwd}/a.wav", "a.wav"),
        ("#1.wav", "#1.wav"),
        ("{2}.wav", "{2}.wav"),
        ("[3].wav", "[3].wav"),
        (" 4 .wav", " 4 .wav"),
        ("'5'.wav", "'5'.wav"),
        (unicodedata.normalize("NFD", "grün.wav"), "grün.wav"),
        ('{"path": "b c.wav", "language": null}', "b c.wav"),
    ],
)
def test_a_path_in_many_spellings(folder: Path, line: str, name: str) -> None:
    """A file whose name equals the line exactly takes precedence."""
    assert taken(line.replace("{cwd}", str(folder)).encode(), folder) == [name]


def test_names_in_another_encoding_than_unicode(folder: Path) -> None:
    """The encoding may be that of a list from Windows, or the one on disk."""
    assert taken("grün.wav\n".encode("cp1252"), folder) == ["grün.wav"]
    Path("gr\udcfcn2.wav").touch()
    assert taken(b"gr\xfcn2.wav\n", folder) == ["gr\udcfcn2.wav"]


def test_paths_that_end_in_nul_are_exact(folder: Path) -> None:
    """Paths from find -print0 can contain characters that lines cannot."""
    names = ["a\nb.wav", " # c ", '"d"']
    for name in names:
        Path(name).touch()
    assert taken("\0".join([*names, "a.wav", ""]).encode(), folder) == [*names, "a.wav"]


def test_a_json_array_is_a_list(folder: Path) -> None:
    """A JSON array contains paths or objects, on any number of lines."""
    items = ["a.wav", {"path": "b c.wav", "prompt": "p", "id": 7}]
    found = find([], [parse("list", json.dumps(items, indent=1).encode(), folder)])

    assert [(one.name, one.fields, one.metadata) for one in found.recordings] == [
        ("a.wav", {}, {}),
        ("b c.wav", {"prompt": "p"}, {"id": 7}),
    ]


def test_paths_are_relative_to_the_manifest_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths that do not exist in the working directory are relative to the manifest's folder."""
    monkeypatch.chdir(folder / "d")
    found = find([], [parse("../list", b"a.wav\ne.wav\nd/e.wav\n", folder)])

    assert [(one.name, one.path) for one in found.recordings] == [
        ("a.wav", folder / "a.wav"),
        ("e.wav", folder / "d" / "e.wav"),
    ]


def test_comments_are_counted(folder: Path) -> None:
    """Lines that begin with # and are not the name of a file count as comments."""
    found = find([], [parse("list", b"#EXTM3U\na.wav\n  # b\n", folder)])

    assert [recording.name for recording in found.recordings] == ["a.wav"]
    assert found.comments == ["list, line 1", "list, line 3"]


@pytest.mark.parametrize(
    ("data", "what", "why"),
    [
        (b"", "list", "lists no recordings"),
        (b" \n\n", "list", "lists no recordings"),
        (b"[]", "list", "lists no recordings"),
        (b"d\n", "{folder}/d", "is a folder"),
        (b"/dev/null\n", "/dev/null", "is not a file but a pipe, a socket, or a device"),
        (b'{"path": "a\\u0000.wav"}', "list, line 1", r"'a\x00.wav' is not a valid path"),
        (b'{"path": "\\ud83d.wav"}', "list, line 1", r"'\ud83d.wav' is not a valid path"),
    ],
)
def test_what_is_no_recording_is_named(folder: Path, data: bytes, what: str, why: str) -> None:
    """The others are included."""
    found = find(["a.wav"], [parse("list", data, folder)])

    assert found.problems == [(what.format(folder=folder), why)]
    assert len(found.recordings) == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfea", "begins as utf-16-le but is invalid"),
        (b'{"path": "a.wav", "prompt": "\\ud83d"}', "line 1: 'prompt' is not valid Unicode"),
        (b'["a.wav", 7]', "entry 2: expected a path"),
    ],
)
def test_what_cannot_be_read_as_a_manifest_is_a_usage_error(
    folder: Path, data: bytes, why: str
) -> None:
    """The message gives the position."""
    with pytest.raises(InputError, match=why):
        parse("list", data, folder)


def test_manifests_on_the_command_line(folder: Path) -> None:
    """Manifests come from find -print0, from a file in another folder, and from a missing file;
    missing recordings are named and counted."""
    uploads = Uploads()
    with transcribing(uploads) as url:
        batch = Batch("out", url)
        batch.cwd = folder
        code, said = batch.run("-", "--manifest", "-", stdin=b"./a.wav\0./gone.wav\0")
        assert (code, uploads.contents) == (1, [b"a.wav"]), said
        assert "FAILED gone.wav: cannot be read: No such file or directory" in said
        assert "1 failed" in said.splitlines()[-1]

        (folder / "d" / "list").write_text("e.wav\n")
        code, said = batch.run("--manifest", "d/list")
        assert (code, uploads.contents[1:]) == (0, [b"d/e.wav"]), said

        for name in ("nowhere", "d", "d/list/x"):
            code, said = batch.run("--manifest", name)
            assert (code, f"the manifest {name} cannot be read: " in said) == (2, True), said
    assert len(uploads.names) == 2
