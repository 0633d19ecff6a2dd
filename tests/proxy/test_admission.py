"""A limit on concurrent requests, a short queue, and 429 for everyone else."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import anyio
import httpx2
import openai
import pytest
from tests.support.fakes import TRANSCRIPTIONS, FakeEngine, StartProxy
from tests.support.processes import wait_for
from tests.support.recordings import tone, wav

from vibevoice_proxy.admission import Admission
from vibevoice_proxy.errors import TooManyRequests

pytest_plugins = ("tests.support.proxy_fixtures",)

SPEECH = wav(tone(1.0))


async def test_places_are_given_in_order() -> None:
    """Waiting requests are served in order of arrival."""
    admission = Admission(1, 3, 10.0)
    order: list[int] = []

    async def visit(number: int) -> None:
        async with admission.place():
            order.append(number)

    async with anyio.create_task_group() as tasks:
        async with admission.place():
            for number in range(3):
                tasks.start_soon(visit, number)
                await anyio.wait_all_tasks_blocked()
            assert (admission.in_flight, admission.waiting) == (1, 3)
    assert order == [0, 1, 2]
    assert (admission.in_flight, admission.waiting) == (0, 0)


async def test_a_full_queue_turns_away() -> None:
    """If all slots and the queue are full, requests are rejected immediately."""
    admission = Admission(1, 0, 10.0)
    async with admission.place():
        with pytest.raises(TooManyRequests):
            async with admission.place():
                raise AssertionError("a slot was free")


async def test_nobody_waits_longer_than_told() -> None:
    """If no slot becomes free in time, the request is rejected and leaves the queue."""
    admission = Admission(1, 1, 0.01)
    async with admission.place():
        with pytest.raises(TooManyRequests):
            async with admission.place():
                raise AssertionError("a slot was free")
        assert admission.waiting == 0


async def test_a_place_comes_back_whatever_happens() -> None:
    """An error or a disconnect releases the slot."""
    admission = Admission(1, 0, 10.0)
    with pytest.raises(ZeroDivisionError):
        async with admission.place():
            raise ZeroDivisionError
    with anyio.move_on_after(0.01):
        async with admission.place():
            await anyio.sleep_forever()
    async with admission.place():
        assert admission.in_flight == 1


@contextmanager
def busy(url: str, engine: FakeEngine) -> Iterator[None]:
    """A request that occupies a slot of the proxy at `url` until the block ends."""
    engine.stall_after = 2
    before = engine.asked

    def ask() -> None:
        with httpx2.Client(base_url=url, timeout=30) as client:
            stream = client.stream(
                "POST", TRANSCRIPTIONS, data={"stream": "true"}, files={"file": ("a", SPEECH)}
            )
            try:
                with stream:
                    released.wait()
            except httpx2.HTTPError:
                pass

    released = threading.Event()
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    wait_for(lambda: engine.asked > before)
    try:
        yield
    finally:
        engine.release.set()
        released.set()
        thread.join(30)


def test_who_is_turned_away_is_told_before_the_upload(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """429 with Retry-After is sent after the request headers; listings still work."""
    url = start_proxy(max_concurrency=1, max_queue=0)
    with busy(url, fake_engine):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        connection.putrequest("POST", TRANSCRIPTIONS)
        connection.putheader("content-type", "multipart/form-data; boundary=x")
        connection.putheader("content-length", "500000000")
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert b"rate_limit_error" in answer.read()
        connection.close()
        assert httpx2.get(url + "/v1/models", timeout=60).status_code == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_a_client_that_keeps_sending_sees_the_answer(
    chunked: bool, start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """A client that sends a large upload completely before reading still gets the 429."""
    url = start_proxy(max_concurrency=1, max_queue=0)
    body = bytes(30_000_000)
    with busy(url, fake_engine):
        answer = httpx2.post(
            url + TRANSCRIPTIONS,
            content=iter([body]) if chunked else body,
            headers={"content-type": "multipart/form-data; boundary=x"},
            timeout=30,
        )
    assert answer.status_code == 429


def test_the_openai_client_waits_and_comes_again(
    start_proxy: StartProxy, fake_engine: FakeEngine
) -> None:
    """The official client raises a rate limit error after the configured retries."""
    url = start_proxy(max_concurrency=1, max_queue=0)
    with busy(url, fake_engine), openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        with pytest.raises(openai.RateLimitError) as refused:
            client.with_options(max_retries=0).audio.transcriptions.create(
                model="vibevoice", file=("a.wav", SPEECH)
            )
    assert refused.value.code == "rate_limit_exceeded"


def test_who_waits_is_served(start_proxy: StartProxy, fake_engine: FakeEngine) -> None:
    """A queued request is served when the one before it is done."""
    url = start_proxy(max_concurrency=1, max_queue=1)
    statuses: list[int] = []

    def ask() -> None:
        answer = httpx2.post(url + TRANSCRIPTIONS, files={"file": ("a", SPEECH)}, timeout=30)
        statuses.append(answer.status_code)

    with busy(url, fake_engine):
        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(lambda: "vibevoice_waiting 1.0" in httpx2.get(url + "/metrics", timeout=60).text)
        assert statuses == []
        fake_engine.stall_after = None
    thread.join()
    assert statuses == [200]
