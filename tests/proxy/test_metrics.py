"""GET /metrics after all kinds of requests."""

import threading

import httpx2
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.metrics import samples, samples_when
from tests.support.recordings import tone, wav

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(2.0))


@pytest.fixture
def fresh(start_proxy: StartProxy) -> httpx2.Client:
    """A separate proxy with all counters at zero."""
    return httpx2.Client(base_url=start_proxy(max_concurrency=2), timeout=30)


def test_requests_are_counted_by_route_and_status(fresh: httpx2.Client) -> None:
    """A route is a pattern: names in paths and unknown paths do not create new series."""
    requests = "vibevoice_requests_total"
    with fresh as http:
        http.get("/v1/models/vibevoice")
        http.get("/v1/models/nothing-like-it")
        http.get("/nowhere")
        http.request("PROPFIND", "/health/live")
        found = samples_when(
            http,
            lambda found: sum(key[0] == requests and key[2] != "/metrics" for key in found) == 4,
        )
    counted = {
        key[1:]: value
        for key, value in found.items()
        if key[0] == requests and key[2] != "/metrics"
    }
    assert counted == {
        ("GET", "/v1/models/{name:path}", "200"): 1,
        ("GET", "/v1/models/{name:path}", "404"): 1,
        ("GET", "none", "404"): 1,
        ("other", "/health/live", "405"): 1,
    }


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_transcription_is_measured(stream: str, fresh: httpx2.Client) -> None:
    """Counts seconds of audio and observes each duration once, streamed or not."""
    with fresh as http:
        http.post(TRANSCRIPTIONS, data={"stream": stream}, files={"file": ("a", SPEECH)})
        counted = ("vibevoice_request_seconds_count", TRANSCRIPTIONS)
        found = samples_when(http, lambda found: counted in found)
    assert found["vibevoice_audio_seconds_total",] == 2.0
    for name in ("decode_seconds", "first_segment_seconds", "real_time_factor"):
        assert found[f"vibevoice_{name}_count",] == 1
        assert found[f"vibevoice_{name}_sum",] > 0
    assert found[counted] == 1


def test_faults_of_the_engine_are_counted(fresh: httpx2.Client, fake_engine: FakeEngine) -> None:
    """Faults are counted by code, and not as transcribed audio; a bad request is not an engine
    error."""
    with fresh as http:
        http.post(TRANSCRIPTIONS, files={"file": ("a", b"no recording")})
        fake_engine.status = 503
        http.post(TRANSCRIPTIONS, files={"file": ("a", SPEECH)})
        fake_engine.status = 500
        http.post(TRANSCRIPTIONS, files={"file": ("a", SPEECH)})
        found = samples(http)
    errors = {key[1:]: n for key, n in found.items() if key[0] == "vibevoice_upstream_errors_total"}
    assert errors == {("upstream_unavailable", "asr"): 1, ("upstream_error", "asr"): 1}
    assert found["vibevoice_audio_seconds_total",] == 0


@pytest.mark.parametrize(
    ("loops", "outcome"),
    [pytest.param(1, "recovered", id="left"), pytest.param(9, "truncated", id="not left")],
)
def test_loops_are_counted(
    loops: int, outcome: str, fresh: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """Loops are counted by outcome, once per recording regardless of the number of attempts."""
    whole = '[{"Start":0,"End":1,"Speaker":0,"Content":"One."}'
    loop = whole + ',{"Start":1,"End":2,"Speaker":0,"Content":"' + "and so on, " * 2000
    fake_engine.text = whole + ',{"Start":1,"End":2,"Speaker":0,"Content":"Two."}]'
    fake_engine.split = 1000
    fake_engine.answers = [(loop, "length")] * loops
    with fresh as http:
        http.post(TRANSCRIPTIONS, files={"file": ("a", wav(tone(8.0)))})
        found = samples(http)
    counts = {key[1]: n for key, n in found.items() if key[0] == "vibevoice_loops_total"}
    assert counts == {"recovered": 0, "truncated": 0} | {outcome: 1}


def test_requests_in_flight_and_in_the_queue_are_told(
    fresh: httpx2.Client, fake_engine: FakeEngine
) -> None:
    """With two slots, one of three requests waits."""

    def state(found: dict[tuple[str, ...], float]) -> tuple[float, float]:
        return found["vibevoice_in_flight",], found["vibevoice_waiting",]

    fake_engine.gate_after = 0
    posts = [
        threading.Thread(
            target=lambda: httpx2.post(
                f"{fresh.base_url}{TRANSCRIPTIONS}", files={"file": ("a", SPEECH)}, timeout=30
            )
        )
        for _ in range(3)
    ]
    with fresh as http:
        for post in posts:
            post.start()
        samples_when(http, lambda found: state(found) == (2, 1))
        fake_engine.gate.set()
        for post in posts:
            post.join()
        samples_when(http, lambda found: state(found) == (0, 0))


def test_the_process_itself_is_measured(fresh: httpx2.Client) -> None:
    """Memory and file descriptors are reported, for alerts on leaks."""
    with fresh as http:
        assert samples(http)["process_resident_memory_bytes",] > 1e7


def test_two_proxies_in_one_process_do_not_share_counters(
    fresh: httpx2.Client, http: httpx2.Client
) -> None:
    """Each application has its own registry."""
    with fresh:
        http.get("/v1/models/only-there")
        assert ("vibevoice_requests_total", "GET", "/v1/models/{name:path}", "404") not in samples(
            fresh
        )
