"""Speech metrics in GET /metrics."""

import threading

import httpx2
from tests.support.fakes import StartProxy
from tests.support.metrics import samples, samples_when
from tests.support.processes import wait_until_it_speaks
from tests.support.speaking import encoded, recording, speak
from tests.support.workers import SPEECH, newest_worker

pytest_plugins = ("tests.support.proxy_fixtures", "tests.support.speech_fixtures")

TEXT = "hello there, this is a test of it."
FULL = "vibevoice-1.5b"


def test_speech_is_measured(models_http: httpx2.Client) -> None:
    """One first chunk, one passage, and as much audio as was sent."""
    names = ("first_chunk_seconds_count", "real_time_factor_count", "audio_seconds_total")
    keys = [(f"vibevoice_speech_{name}", FULL) for name in names]
    before = samples(models_http)
    answer = speak(models_http, input=TEXT)
    after = samples(models_http)
    chunks, pieces, seconds = (after[key] - before.get(key, 0) for key in keys)
    assert (chunks, pieces) == (1, 1)
    assert abs(seconds - len(answer.content) / 2 / 24000) < 1e-6
    assert after["vibevoice_speech_real_time_factor_sum", FULL] > 0


def test_voices_are_counted_by_whether_they_were_there(models_http: httpx2.Client) -> None:
    """A new sample is a miss that takes time, and a hit when it is used again."""
    hit = ("vibevoice_speech_voice_cache_total", FULL, "hit")
    miss = ("vibevoice_speech_voice_cache_total", FULL, "miss")
    spent = ("vibevoice_speech_voice_seconds_total", FULL)
    sample = encoded(recording(3.3, 77))
    found = [samples(models_http)]
    for _ in range(2):
        speak(models_http, input=TEXT, ref_audio=sample)
        found.append(samples(models_http))
    before, first, second = ({key: one.get(key, 0) for key in (hit, miss, spent)} for one in found)
    assert first[miss] - before[miss] == 1
    assert first[spent] > before[spent]
    assert (second[hit] - first[hit], second[miss], second[spent]) == (1, first[miss], first[spent])


def test_places_are_counted(start_proxy: StartProxy) -> None:
    """With one slot, one of two requests is spoken and the other waits; a third is an error counted
    by code, but a bad request is not."""
    base = start_proxy(tts_model_type="espeak", tts_batch_size=1, tts_max_queue=1)
    wait_until_it_speaks(base, "espeak")
    worker = newest_worker(SPEECH)
    state = [("vibevoice_speech_in_flight", "espeak"), ("vibevoice_speech_waiting", "espeak")]
    with httpx2.Client(base_url=base, timeout=60) as http:
        worker.suspend()  # so that no request ends before the state is read
        speaking = [
            threading.Thread(target=speak, args=(http,), kwargs={"input": TEXT}) for _ in range(2)
        ]
        for thread in speaking:
            thread.start()
        samples_when(http, lambda found: [found[key] for key in state] == [1, 1])
        assert speak(http, input=TEXT).status_code == 429
        assert speak(http, input="").status_code == 400
        worker.resume()
        for thread in speaking:
            thread.join()
        found = samples_when(http, lambda found: [found[key] for key in state] == [0, 0])
    errors = {key[1:]: n for key, n in found.items() if key[0] == "vibevoice_speech_errors_total"}
    assert errors == {("rate_limit_exceeded", "espeak"): 1}


def test_lost_workers_are_counted(start_proxy: StartProxy) -> None:
    """Killing the worker counts an error and a restart; then it is ready again."""
    base = start_proxy(tts_model_type="espeak")
    wait_until_it_speaks(base, "espeak")
    restarts = ("vibevoice_speech_worker_restarts_total", "espeak")
    ready = ("vibevoice_speech_worker_ready", "espeak")
    with httpx2.Client(base_url=base, timeout=60) as http:
        found = samples(http)
        assert (found[restarts], found[ready]) == (0, 1)
        newest_worker(SPEECH).kill()
        found = samples_when(http, lambda found: found[restarts] == 1 and found[ready] == 1)
