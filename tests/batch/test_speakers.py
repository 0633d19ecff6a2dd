"""Known speakers for a whole folder, and RTTM output."""

import json
from pathlib import Path

import pytest
from tests.support.batch_client import Batch
from tests.support.fakes import FakeEngine, StartProxy
from tests.support.real_voices import RATE, conversation, librivox, prompts
from tests.support.recordings import wav
from tests.support.scripted import script, sections_of, upload

pytest_plugins = ("tests.support.proxy_fixtures",)


@pytest.fixture
def talks(tmp_path: Path, fake_engine: FakeEngine) -> Path:
    """A folder with two talks, and a folder with a reference for one of the two speakers."""
    long = [one for one in prompts() if 3 < one.seconds < 7]
    first, second = (
        conversation([("Eve", librivox()[n]), ("Ann", long[n]), ("Eve", librivox()[n + 1])], 0.5)
        for n in (0, 2)
    )
    (tmp_path / "talks").mkdir()
    (tmp_path / "who").mkdir()
    parts = []
    for name, (samples, _) in (("one talk", first), ("two", second)):
        audio = upload(samples)
        (tmp_path / "talks" / f"{name}.wav").write_bytes(audio)
        parts.append(sections_of(audio, 3600))
    script(fake_engine, first[1], parts[0])
    of_first = fake_engine.text_for
    script(fake_engine, second[1], parts[1])
    of_second = fake_engine.text_for
    fake_engine.text_for = lambda text: of_first(text) or of_second(text)
    (tmp_path / "who" / "Ann Lee.wav").write_bytes(wav(long[-1].samples, RATE))
    (tmp_path / "who" / "notes.txt").write_text("not a recording")
    return tmp_path


def test_a_folder_of_talks_with_names(talks: Path, start_proxy: StartProxy) -> None:
    """The names appear in every transcript, including RTTM; a changed reference requests all
    again."""
    batch = Batch(talks / "out", start_proxy())
    code, said = batch.run(
        talks / "talks", "--speakers", talks / "who", "--format", "json,rttm", "--base", talks
    )
    assert code == 0, said
    for name in ("one talk", "two"):
        found = json.loads((talks / "out" / "talks" / f"{name}.wav.json").read_text())
        assert [part["speaker"] for part in found["segments"]] == ["A", "Ann Lee", "A"]
        rttm = (talks / "out" / "talks" / f"{name}.wav.rttm").read_text().splitlines()
        file = name.replace(" ", "_")
        for part, line in zip(found["segments"], rttm, strict=True):
            start, length = part["start"], part["end"] - part["start"]
            speaker = part["speaker"].replace(" ", "_")
            assert line == (
                f"SPEAKER {file} 1 {start:.3f} {length:.3f} <NA> <NA> {speaker} <NA> <NA>"
            )
    assert "base64" not in (talks / "out" / "transcripts.jsonl").read_text()
    arguments = (talks / "talks", "--speakers", talks / "who", "--base", talks)
    assert "2 done before" in batch.run(*arguments)[1]
    (talks / "who" / "Ann Lee.wav").write_bytes(wav(prompts()[0].samples, RATE) * 2)
    assert "2 to do" in batch.run(*arguments, "--dry-run")[1]


def test_references_that_the_server_refuses_end_the_run(
    talks: Path, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """The server would reject them with every recording."""
    (talks / "who" / "Bob.wav").write_bytes(b"not a recording")
    batch = Batch(talks / "out", start_proxy())
    code, said = batch.run(talks / "talks", "--speakers", talks / "who")
    assert code == 1
    assert f"rejected {talks / 'who' / 'Bob.wav'}: The reference 2" in said
    assert "Replace or remove this file." in said and "Run the same command" not in said
    assert fake_engine.asked == 0


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "contains no recordings"),
        (["Ann.wav", "ann.mp3"], "two recordings of ann"),
        (None, "is not a folder"),
    ],
)
def test_wrong_folders_are_told(
    files: list[str] | None, message: str, tmp_path: Path, start_proxy: StartProxy
) -> None:
    """The error comes before anything is sent."""
    if files is not None:
        (tmp_path / "who").mkdir()
        for file in files:
            (tmp_path / "who" / file).write_bytes(b"x")
    (tmp_path / "a.wav").write_bytes(b"x")
    batch = Batch(tmp_path / "out", start_proxy())
    code, said = batch.run(tmp_path / "a.wav", "--speakers", tmp_path / "who")
    assert code == 2
    assert message in said
