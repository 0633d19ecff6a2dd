"""Enrolled speakers: stored by name with their consent, used if a request selects them."""

import json
import stat
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.real_voices import RATE, Samples, Utterance, conversation, librivox, prompts
from tests.support.recordings import wav
from tests.support.scripted import script, sections_of, upload

from vibevoice_proxy.settings import Settings

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEAKERS = "/v1/audio/speakers"


def ann() -> list[Utterance]:
    """Utterances of one of two people, 3 to 7 s each."""
    return [one for one in prompts() if 3 < one.seconds < 7]


@pytest.fixture
def url(start_proxy: StartProxy, tmp_path: Path) -> str:
    """A proxy on which speakers may be enrolled, at most two."""
    return start_proxy(
        speaker_enrollment=True, speaker_dir=str(tmp_path / "speakers"), max_enrolled_speakers=2
    )


def enroll(url: str, samples: Samples, **fields: str) -> httpx2.Response:
    data = {"consent": "signed 2026-11-30", **fields}
    files = {"audio_sample": ("ann.wav", wav(samples, RATE))}
    return httpx2.post(url + SPEAKERS, data=data, files=files, timeout=60)


def test_an_enrolled_speaker_is_named_until_deleted(
    url: str, fake_engine: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The speaker is only named in requests that select them. The file contains no recording, and
    other users cannot read it."""
    caplog.set_level("DEBUG")
    added = enroll(url, np.concatenate([one.samples for one in ann()[10:13]]), name="Ann Secret")
    assert added.status_code == 200, added.text
    speaker = added.json()
    assert speaker["object"] == "audio.speaker" and speaker["consent"] == "signed 2026-11-30"
    assert speaker["seconds"] > 5
    assert httpx2.get(url + SPEAKERS, timeout=60).json()["data"] == [speaker]
    (file,) = (tmp_path / "speakers").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.stat().st_size < 2000
    assert set(json.loads(file.read_text())) == {
        "name", "created", "consent", "model", "seconds", "vector",
    }  # fmt: skip

    samples, spoken = conversation([("Eve", librivox()[0]), ("Ann", ann()[0])], 0.5)
    audio = upload(samples)
    script(fake_engine, spoken, sections_of(audio, 3600))

    def labels(**fields: str) -> Any:
        data = {"response_format": "diarized_json", **fields}
        files = {"file": ("talk", audio)}
        answer = httpx2.post(url + TRANSCRIPTIONS, data=data, files=files, timeout=60).json()
        return [part["speaker"] for part in answer["segments"]] if "segments" in answer else answer

    assert labels() == ["A", "B"]
    for name in ("ann secret", speaker["id"], "*"):
        assert labels(**{"known_speaker_names[]": name}) == ["A", "Ann Secret"]
    deleted = httpx2.delete(f"{url}{SPEAKERS}/{speaker['id']}")
    assert deleted.json() == {
        "id": speaker["id"], "deleted": True, "object": "audio.speaker.deleted",
    }  # fmt: skip
    assert not list((tmp_path / "speakers").iterdir())
    refused = labels(**{"known_speaker_names[]": "Ann Secret"})
    assert refused["error"]["code"] == "speaker_not_found"
    assert labels(**{"known_speaker_names[]": "*"}) == ["A", "B"]
    assert httpx2.delete(f"{url}{SPEAKERS}/{speaker['id']}").status_code == 404
    assert "Secret" not in caplog.text and "signed" not in caplog.text


def test_what_cannot_be_enrolled(url: str) -> None:
    """The error names the field; a full store has its own message."""
    good = ann()[0].samples
    two = np.concatenate([good[: 5 * RATE], librivox()[0].samples[: 5 * RATE]])
    for samples, fields, param in (
        (good, {"name": ""}, "name"),
        (good, {"name": "*"}, "name"),
        (good, {"name": "a\u0007"}, "name"),
        (good, {"name": "unknown"}, "name"),
        (good, {"name": "Ann", "consent": " "}, "consent"),
        (good[:RATE], {"name": "Ann"}, "audio_sample"),
        (np.zeros(5 * RATE, np.float32), {"name": "Ann"}, "audio_sample"),
        (np.tile(good, 30)[: 61 * RATE], {"name": "Ann"}, "audio_sample"),
        (two, {"name": "Ann"}, "audio_sample"),
    ):
        answer = enroll(url, samples, **fields)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert enroll(url, good, name="Ann").status_code == 200
    assert "already" in enroll(url, good, name="ANN").json()["error"]["message"]
    assert enroll(url, good, name="Bob").status_code == 200
    assert enroll(url, good, name="Cy").json()["error"]["code"] == "speaker_limit_reached"
    for wrong in ("speaker_" + "0" * 32, "..%2fspeakers", "x"):
        assert httpx2.delete(f"{url}{SPEAKERS}/{wrong}").status_code == 404
    assert len(httpx2.get(url + SPEAKERS, timeout=60).json()["data"]) == 2


def test_a_path_in_place_of_a_recording_is_told(url: str) -> None:
    """Without the `@`, curl sends the path as a text field; the message shows the right flag."""
    fields = {"name": "Ann", "consent": "yes", "audio_sample": "ann.wav"}
    files = {name: (None, value) for name, value in fields.items()}
    answer = httpx2.post(url + SPEAKERS, files=files, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "missing_file")
    assert "-F audio_sample=@recording.wav" in error["message"]


def test_a_damaged_file_is_left_out(url: str, tmp_path: Path) -> None:
    """The other speakers are still listed."""
    assert enroll(url, ann()[0].samples, name="Ann").status_code == 200
    for number, text in enumerate(("", "{}", '{"model": "other"}')):
        (tmp_path / "speakers" / f"speaker_{number:032x}.json").write_text(text)
    assert [one["name"] for one in httpx2.get(url + SPEAKERS, timeout=60).json()["data"]] == ["Ann"]


def test_enrolling_is_off_unless_allowed(http: httpx2.Client) -> None:
    """Returns 403 with the name of the setting."""
    for answer in (
        http.get(SPEAKERS),
        http.post(SPEAKERS, files={"audio_sample": b"x"}, data={"name": "Ann"}),
        http.delete(f"{SPEAKERS}/speaker_0"),
    ):
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "speaker_enrollment_off"
        assert "VIBEVOICE_SPEAKER_ENROLLMENT" in answer.json()["error"]["message"]


def test_the_list_of_speakers_needs_a_key(start_proxy: StartProxy, tmp_path: Path) -> None:
    """Unlike the lists of models and voices, it contains personal data."""
    url = start_proxy(
        api_keys="a-key", speaker_enrollment=True, speaker_dir=str(tmp_path / "speakers")
    )
    assert httpx2.get(url + SPEAKERS, timeout=60).status_code == 401
    headers = {"authorization": "Bearer a-key"}
    assert httpx2.get(url + SPEAKERS, headers=headers, timeout=60).json()["data"] == []


def test_settings_that_do_not_fit_are_told() -> None:
    """Inconsistent settings are reported before the server starts."""
    for wrong in ({"speaker_enrollment": True}, {"speaker_threshold": 1.5}):
        with pytest.raises(ValueError, match="VIBEVOICE_SPEAKER_DIR|speaker_threshold"):
            Settings(**wrong)  # type: ignore[arg-type]
