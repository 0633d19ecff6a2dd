"""Checks that faulty clients of realtime sessions leave nothing behind.

    python -m bench.live_faults              # 1,000 random sequences and all other faults, a few
    minutes python -m bench.live_faults --times 100

After each kind of fault, it prints the open sessions, the conversations left in the worker, and the
memory (PSS of the proxy and of its worker) before and after. Each fault runs a few times before it
is measured, so one-time allocations do not count as leaks.
"""

import argparse
import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
from tests.support.metrics import samples_when
from tests.support.processes import proxy_process
from tests.support.real_voices import conversation, librivox
from tests.support.realtime import RATE, TRANSCRIPTION, pcm, random_message
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bench.light_accuracy import table
from bench.live_client import LIGHT, Played, append, connected, play
from bench.live_hour import memory_of
from bench.scoring import word_errors
from bench.servers import log_file
from vibevoice_proxy.client_secrets import ClientSecrets

KEY = "bench"
AT_ONCE = 8
SEND_SECONDS = 2
"""Send timeout of the server for clients that read nothing."""
HANDSHAKE = (
    "GET /v1/realtime?intent=transcription HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n"
    "connection: Upgrade\r\nsec-websocket-version: 13\r\n"
    f"sec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nauthorization: Bearer {KEY}\r\n\r\n"
).encode()
MASK = b"\0\0\0\0"

Fault = Callable[[str, random.Random], Awaitable[str]]
"""Runs a fault once against a base URL and returns the result."""


async def random_events(url: str, source: random.Random) -> str:
    """25 events, some broken; the session still answers after them."""
    async with connected(url, KEY) as connection:
        for _ in range(25):
            await connection.send(random_message(source))
        await connection.send('{"type": "last"}')
        async for message in connection:
            if "'last'" in str(json.loads(message).get("error")):
                return "answered to the last"
    return "ended"


async def half_frame(url: str, source: random.Random) -> str:
    """Half of a message of 100 kB."""
    head = b"\x81\xff" + (100_000).to_bytes(8, "big") + MASK
    return await raw(url, head + b"a" * source.randrange(100_000))


async def garbage(url: str, source: random.Random) -> str:
    """Random bytes instead of frames."""
    return await raw(url, source.randbytes(1000))


async def raw(url: str, data: bytes) -> str:
    """Send bytes after a handshake, then cut the connection."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    try:
        writer.write(HANDSHAKE)
        status = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        writer.write(data)
        await asyncio.sleep(0.01)
    finally:
        writer.transport.abort()
    return status


def vanish(audio: bytes) -> Fault:
    """Clients that disconnect while they speak."""

    async def play_it(url: str, source: random.Random) -> str:
        try:
            async with connected(url, KEY) as connection:
                end = source.randrange(RATE, len(audio) // 2) * 2
                for at in range(0, end, RATE):
                    await connection.send(append(audio[at : min(end, at + RATE)]))
                connection.transport.abort()
            return "cut"
        except InvalidStatus as error:
            if error.response.status_code != 429:
                raise
        await asyncio.sleep(0.2)  # audio from earlier clients is still being read
        return await play_it(url, source)

    return play_it


async def read_nothing(url: str, _: random.Random) -> str:
    """A client that keeps sending and reads no response."""
    async with connected(url, KEY) as connection:
        try:
            async with asyncio.timeout(3 * SEND_SECONDS):
                while True:
                    await connection.send("x" * 1000)
        except (ConnectionClosed, TimeoutError) as error:
            connection.transport.abort()
            return type(error).__name__


async def expired(url: str, _: random.Random) -> str:
    """A client secret that expired a minute ago."""
    secret = ClientSecrets([KEY]).issue({"type": "transcription"}, int(time()) - 60)
    try:
        async with connected(url, secret):
            return "accepted"
    except InvalidStatus as error:
        return str(error.response.status_code)


async def repeat(fault: Fault, url: str, times: int, seed: int) -> Counter[str]:
    """Run a fault `times` times, AT_ONCE concurrently, and count the results."""
    places = asyncio.Semaphore(AT_ONCE)

    async def once(number: int) -> str:
        async with places:
            return await fault(url, random.Random(seed + number))

    return Counter(await asyncio.gather(*map(once, range(times))))


def settled(url: str) -> tuple[int, int]:
    """The numbers of open sessions and of conversations in the worker, once both are 0 or after a
    timeout."""
    names = ("vibevoice_realtime_sessions_open",), ("vibevoice_light_in_flight",)
    with httpx2.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as http:
        found = samples_when(http, lambda found: not any(found[name] for name in names))
    return int(found[names[0]]), int(found[names[1]])


def rows(
    url: str, proxy: psutil.Process, faults: Sequence[tuple[Fault, int]]
) -> Iterator[Sequence[str]]:
    """A row for each fault with what it leaves behind."""
    for fault, times in faults:
        asyncio.run(repeat(fault, url, max(AT_ONCE, times // 10), 10**6))
        settled(url)
        before, began = memory_of(proxy), monotonic()
        found = asyncio.run(repeat(fault, url, times, 0))
        seconds = monotonic() - began
        sessions, conversations = settled(url)
        after = memory_of(proxy)
        yield (
            (fault.__doc__ or vanish.__doc__ or "").rstrip("."),
            *(f"{times}", f"{seconds:.0f}", ", ".join(f"{n} {what}" for what, n in found.items())),
            *(f"{sessions}", f"{conversations}"),
            *(f"{old:.0f} → {new:.0f}" for old, new in zip(before, after, strict=True)),
        )


async def lose_worker(url: str, proxy: psutil.Process, audio: bytes) -> str:
    """Kill the worker during speech; return the results of that turn and of the next one."""

    async def until(connection: ClientConnection, *types: str) -> Any:
        async for message in connection:
            if (event := json.loads(message))["type"] in types:
                return event
        raise RuntimeError("the session ended")

    ends = (f"{TRANSCRIPTION}.completed", f"{TRANSCRIPTION}.failed")
    async with connected(url, KEY) as connection:
        await connection.send(append(audio[: 2 * 3 * RATE]))
        await until(connection, "input_audio_buffer.speech_started")
        [worker] = proxy.children()
        worker.kill()
        failed = await until(connection, *ends)
        await connection.send(append(audio + bytes(3 * RATE)))
        return f"{failed['error']['code']}, then {(await until(connection, *ends))['type']}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Check what faulty clients leave behind.")
    parser.add_argument("--times", type=int, default=1000)
    args = parser.parse_args()
    sentence = librivox()[0]
    samples, _ = conversation([("reader", sentence)])
    audio = pcm(samples)
    few = max(AT_ONCE, args.times // 5)
    faults = [(random_events, args.times), *((one, few) for one in (half_frame, garbage, expired))]
    faults += [(vanish(audio), few), (read_nothing, 2 * AT_ONCE)]
    environ = {
        **LIGHT,
        "VIBEVOICE_LIGHT_WORKERS": "1",
        "VIBEVOICE_API_KEYS": KEY,
        "VIBEVOICE_REALTIME_SEND_TIMEOUT": str(SEND_SECONDS),
    }
    log: Path = log_file("live-faults")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with proxy_process(log, killed=True, **environ) as (process, url):
        proxy = psutil.Process(process.pid)
        lost = Counter(asyncio.run(lose_worker(url, proxy, audio)) for _ in range(3))
        head = ("fault", "times", "s", "outcome", "open sessions", "in the worker")
        table((*head, "proxy MiB", "worker MiB"), rows(url, proxy, faults))

        async def speak() -> Played:
            played = Played()
            async with connected(url, KEY) as connection:
                await play(connection, samples, played, speed=1)
            return played

        wrong = word_errors(sentence.text, asyncio.run(speak()).text)
    print(f"Worker killed in a turn: {dict(lost)}. A session after all that: {wrong} wrong words.")
    print(f"Tracebacks in the log: {log.read_text().count('Traceback')}")


if __name__ == "__main__":
    main()
