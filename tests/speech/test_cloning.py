"""Clients' voices: sent with a speech request, or stored and used by name."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from tests.support.fakes import StartProxy
from tests.support.speaking import encoded, recording, speak
from tests.support.workers import keep_workers_from_starting

from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.speech.voice_store import VoiceStore

pytest_plugins = ("tests.support.proxy_fixtures", "tests.support.speech_fixtures")

VOICES = "/v1/audio/voices"
TEXT = "hello there, this is a test of it."
RATE = 24_000


ANNA = recording(3.2)
"""Long enough to clone, too short for a stable clone; the tiny model does not support much more."""


@pytest.fixture
def stored(models_client: openai.OpenAI) -> Any:
    """Anna's voice in the store, until the test ends."""
    voice = models_client.audio.voices.create(audio_sample=ANNA, consent="cons_1", name="Anna")
    yield voice
    models_client.audio.voices.delete(voice.id)


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    return answer.json()["error"]


def test_a_sample_in_the_request_is_the_voice(models_http: httpx2.Client) -> None:
    """Plain base64 and a data URL sound the same; another speaker and a built-in voice sound
    different; `voice` is ignored."""
    other = encoded(recording(3.2, 200))
    asked: list[dict[str, Any]] = [
        {"ref_audio": encoded(ANNA)},
        {"ref_audio": f"data:audio/wav;base64,{encoded(ANNA)}", "voice": "tiny"},
        {"ref_audio": other},
        {"voice": "tiny"},
    ]
    answers = [speak(models_http, input=TEXT, **body) for body in asked]
    assert [answer.status_code for answer in answers] == [200] * 4
    first, again, second, own = (answer.content for answer in answers)
    assert first == again
    assert len({first, second, own}) == 3


def test_features_are_computed_once(models_http: httpx2.Client) -> None:
    """The first request reports a miss and the time taken; the next one reports a hit."""
    sample = encoded(recording(3.1, 90))
    first, second = (speak(models_http, input=TEXT, ref_audio=sample) for _ in range(2))
    assert first.headers["x-vibevoice-voice-cache"] == "miss"
    assert float(first.headers["x-vibevoice-voice-seconds"]) > 0
    assert second.headers["x-vibevoice-voice-cache"] == "hit"
    assert "3.1 s" in second.headers["x-vibevoice-voice-warning"]
    assert first.content == second.content


def test_a_sample_speaks_in_a_script(models_http: httpx2.Client) -> None:
    """`ref_audio` can be used as a voice in `speakers`."""
    script = {"input": "Ann: hello there.\nBob: this is a test.", "ref_audio": encoded(ANNA)}
    both = speak(models_http, speakers={"Ann": "ref_audio", "Bob": "small"}, **script)
    alone = speak(models_http, speakers={"Ann": "tiny", "Bob": "small"}, **script)
    assert both.status_code == alone.status_code == 200
    assert both.content != alone.content


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        pytest.param("http://127.0.0.1/a.wav", "is a URL", id="url"),
        pytest.param("file:///etc/passwd", "is a URL", id="file"),
        pytest.param("not base64!", "not valid base64", id="no base64"),
        pytest.param("data:audio/wav,abc", "not valid base64", id="other data URL"),
        pytest.param(encoded(b"no recording"), "could not be decoded", id="no recording"),
        pytest.param(encoded(recording(2.5)), "2.5 s of speech; expected 6 to 30", id="short"),
        pytest.param(encoded(bytes(20)), "could not be decoded", id="zeros"),
        pytest.param(
            encoded(recording(121, rate=8000, form="FLAC")), "longer than 120 s", id="long"
        ),
    ],
)
def test_bad_samples_are_refused(models_http: httpx2.Client, sample: str, message: str) -> None:
    """The 400 names the field and what was expected; no URL is fetched and no file is read."""
    answer = speak(models_http, input=TEXT, ref_audio=sample)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == "ref_audio"
    assert message in error_of(answer)["message"]


def test_realtime_says_which_model_clones(models_http: httpx2.Client, stored: Any) -> None:
    """A sample or a stored voice with the model without an encoder returns 400."""
    for body in ({"ref_audio": encoded(ANNA)}, {"voice": stored.id}):
        answer = speak(models_http, model="tts-1", input=TEXT, **body)
        assert answer.status_code == 400
        assert "vibevoice-1.5b can" in error_of(answer)["message"]


def test_models_say_whether_they_clone(
    models_http: httpx2.Client, start_proxy: StartProxy, models_folder: Path
) -> None:
    """The list of models tells clients which ones can clone, and whether voices can be stored."""
    without_store = start_proxy(tts_model_type="1.5b", model_dir=str(models_folder))
    found = [
        {one["root"]: (one["voice_cloning"], one["voice_uploads"]) for one in listed["models"]}
        for listed in (
            models_http.get("/v1/audio/models").json(),
            httpx2.get(f"{without_store}/v1/audio/models").json(),
        )
    ]
    assert found == [
        {"vibevoice-realtime-0.5b": (False, False), "vibevoice-1.5b": (True, True)},
        {"vibevoice-1.5b": (True, False)},
    ]


def test_a_stored_voice_is_used_by_id_and_by_name(models_http: httpx2.Client, stored: Any) -> None:
    """Both sound like the sample itself and share its cached features."""
    sent = speak(models_http, input=TEXT, ref_audio=encoded(ANNA))
    for voice in (stored.id, "anna", {"id": stored.id}):
        answer = speak(models_http, input=TEXT, voice=voice)
        assert answer.status_code == 200
        assert answer.headers["x-vibevoice-voice-cache"] == "hit"
        assert answer.content == sent.content


def test_the_official_client_stores_lists_and_deletes(
    models_client: openai.OpenAI, models_http: httpx2.Client
) -> None:
    """Responses match its types; a stored voice is last in the list, and gone once deleted."""
    sample = ("a.mp3", recording(7, form="MP3"))
    voice = models_client.audio.voices.create(
        audio_sample=sample, consent="cons_1", name="Bérénice 声"
    )
    assert (voice.object, voice.type, voice.name) == ("audio.voice", "audio_sample", "Bérénice 声")
    listed = models_http.get(VOICES).json()["voices"][-1]
    assert (listed["id"], listed["name"]) == (voice.id, "Bérénice 声")
    assert listed["models"] == ["vibevoice-1.5b"]
    assert listed["created_at"] == voice.created_at
    deleted = models_client.audio.voices.delete(voice.id)
    assert (deleted.id, deleted.deleted) == (voice.id, True)
    assert voice.id not in models_http.get(VOICES).text
    with pytest.raises(openai.NotFoundError) as missing:
        models_client.audio.voices.delete(voice.id)
    assert missing.value.code == "voice_not_found"
    assert speak(models_http, input=TEXT, voice=voice.id).status_code == 400


def test_little_speech_is_warned_of_when_it_is_stored(models_http: httpx2.Client) -> None:
    """Below 6 s, the response has a warning; above, it has none."""
    for seconds, expected in ((3.2, True), (7.0, False)):
        fields = {"name": "Carl"}
        file = {"audio_sample": ("a", recording(seconds))}
        voice = models_http.post(VOICES, data=fields, files=file).json()
        models_http.delete(f"{VOICES}/{voice['id']}")
        assert ("warning" in voice) is expected
        assert voice["seconds"] == pytest.approx(seconds, abs=0.05)


@pytest.mark.parametrize(
    ("fields", "sample", "status", "param"),
    [
        pytest.param({}, ANNA, 400, "name", id="no name"),
        pytest.param({"name": "a\nb"}, ANNA, 400, "name", id="line break"),
        pytest.param({"name": "a" * 101}, ANNA, 400, "name", id="long name"),
        pytest.param({"name": "Alloy"}, ANNA, 400, "name", id="name of OpenAI's"),
        pytest.param({"name": "EN-tiny_woman"}, ANNA, 400, "name", id="name of the model's"),
        pytest.param({"name": "D", "type": "prompt"}, ANNA, 400, "type", id="prompt"),
        pytest.param({"name": "D"}, None, 400, "audio_sample", id="no sample"),
        pytest.param({"name": "D"}, b"", 400, "file", id="empty"),
        pytest.param({"name": "D"}, b"none", 400, "audio_sample", id="no recording"),
        pytest.param({"name": "D"}, recording(1), 400, "audio_sample", id="short"),
        pytest.param({"name": "D"}, bytes(11 * 2**20), 413, "file", id="large"),
    ],
)
def test_bad_voices_are_refused(
    models_http: httpx2.Client,
    voice_dir: Path,
    fields: dict[str, str],
    sample: bytes | None,
    status: int,
    param: str,
) -> None:
    """The errors are OpenAI-style, and nothing is left in the folder."""
    files = {"audio_sample": ("a", sample)} if sample is not None else {"other": ("a", b"x")}
    answer = models_http.post(VOICES, data=fields, files=files)
    assert (answer.status_code, error_of(answer)["param"]) == (status, param)
    assert list(voice_dir.iterdir()) == []


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "voice_0", "a/b"])
def test_names_never_become_paths(models_http: httpx2.Client, voice_dir: Path, name: str) -> None:
    """File names are random, whatever the voice is called."""
    voice = models_http.post(VOICES, data={"name": name}, files={"file": ("a", ANNA)}).json()
    assert [path.name for path in voice_dir.iterdir()] == [f"{voice['id']}.flac"]
    assert voice["name"] == name
    for path in ("..%2F..%2Fetc", "*", voice["id"][:-1]):
        assert models_http.delete(f"{VOICES}/{path}").status_code == 404
    assert models_http.delete(f"{VOICES}/{voice['id']}").status_code == 200
    assert list(voice_dir.iterdir()) == []


def test_a_name_is_given_once_and_the_store_is_bounded(models_http: httpx2.Client) -> None:
    """The same name in any case, and more voices than allowed, are rejected."""

    def store(name: str) -> httpx2.Response:
        return models_http.post(VOICES, data={"name": name}, files={"file": ("a", ANNA)})

    voices = [store(f"voice {n}") for n in range(5)]
    try:
        assert [answer.status_code for answer in voices] == [200] * 5
        assert error_of(store("VOICE 3"))["param"] == "name"
        assert error_of(store("voice 5"))["code"] == "voice_limit_reached"
    finally:
        for answer in voices:
            models_http.delete(f"{VOICES}/{answer.json()['id']}")


def test_storing_is_off_unless_allowed(start_proxy: StartProxy) -> None:
    """The 403 names the setting, before the upload is read. Without a model that clones, it does
    not recommend to send the recording with each request."""
    with httpx2.Client(base_url=start_proxy(), timeout=60) as http:
        for answer in (http.post(VOICES, content=b"x"), http.delete(f"{VOICES}/voice_0")):
            assert (answer.status_code, error_of(answer)["code"]) == (403, "voice_uploads_off")
            message = error_of(answer)["message"]
            assert "VIBEVOICE_VOICE_UPLOADS" in message and "ref_audio" not in message
            assert "No model served here can clone voices; " in message


def test_storing_needs_a_model_that_clones(start_proxy: StartProxy, tmp_path: Path) -> None:
    """Without one, a stored voice would be useless; the 400 says which model can clone."""
    base = start_proxy(voice_uploads=True, voice_dir=str(tmp_path))
    answer = httpx2.post(
        f"{base}{VOICES}", data={"name": "D"}, files={"file": ("a", ANNA)}, timeout=60
    )
    assert answer.status_code == 400
    assert "vibevoice-1.5b can" in error_of(answer)["message"]


def test_names_are_known_before_a_voice_is_stored(
    start_proxy: StartProxy,
    models_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before a model is loaded, the names of its voices cannot be taken."""
    keep_workers_from_starting(monkeypatch)
    base = start_proxy(
        voice_uploads=True,
        voice_dir=str(tmp_path),
        tts_model_type="both",
        model_dir=str(models_folder),
    )
    answer = httpx2.post(
        f"{base}{VOICES}", data={"name": "alloy"}, files={"file": ("a", ANNA)}, timeout=60
    )
    assert (answer.status_code, error_of(answer)["code"]) == (503, "speech_unavailable")
    assert not list(tmp_path.iterdir())


def test_large_requests_announce_their_length(models_http: httpx2.Client) -> None:
    """This bounds their memory; requests without a voice sample are never that large."""
    body = json.dumps({"input": TEXT, "ref_audio": "A" * 1_100_000}).encode()
    answer = models_http.post("/v1/audio/speech", content=iter([body]))
    assert answer.status_code == 413, answer.text


def test_a_models_own_voice_is_not_taken(models_http: httpx2.Client, voice_dir: Path) -> None:
    """A recording stored under the name of a model's voice while it was loading does not replace
    it."""
    VoiceStore(voice_dir, 100).add("alloy", np.zeros(RATE, np.float32), "")
    asked = {"model": "vibevoice-realtime-0.5b", "input": TEXT, "voice": "alloy", "seed": 1}
    assert models_http.post("/v1/audio/speech", json=asked).status_code == 200


def test_storing_needs_a_folder() -> None:
    """A missing folder is reported at startup."""
    with pytest.raises(ValueError, match="VIBEVOICE_VOICE_DIR"):
        Settings(voice_uploads=True)


SPOKEN = np.sin(np.arange(4 * RATE) / 20).astype(np.float32) / 2


def test_voices_survive_a_restart(tmp_path: Path) -> None:
    """A new store on the same folder has the same voice with all its data."""
    voice = VoiceStore(tmp_path / "new" / "folder", 3).add("Anna Ö 声", SPOKEN, "cons_1")
    found = VoiceStore(tmp_path / "new" / "folder", 3).find(voice.id)
    assert found is not None and found == voice
    assert np.abs(found.read() - SPOKEN).max() <= 1 / 32768
    assert os.stat(voice.path).st_mode & 0o077 == 0


def test_damaged_and_foreign_files_are_no_voices(tmp_path: Path) -> None:
    """Files left by a crash or added by someone else are ignored."""
    store = VoiceStore(tmp_path, 3)
    voice = store.add("Anna", SPOKEN, "")
    content = voice.path.read_bytes()
    (tmp_path / f"voice_{'0' * 32}.flac").write_bytes(content[:100])
    (tmp_path / f"voice_{'1' * 32}.flac").write_bytes(recording(4, form="FLAC"))
    (tmp_path / ".unfinished").write_bytes(content)
    (tmp_path / "other.flac").write_bytes(content)
    assert store.voices() == [voice]


def test_the_bound_holds_for_requests_at_once(tmp_path: Path) -> None:
    """Of eight voices stored concurrently, three are kept."""
    store = VoiceStore(tmp_path, 3)

    def add(name: str) -> bool:
        try:
            store.add(name, SPOKEN, "")
        except InvalidRequest:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, "abcdefgh")) == 3
    assert len(list(tmp_path.iterdir())) == 3
