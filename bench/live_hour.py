"""Runs an hour of conversation in one realtime session: memory, times and labels over time.

    python -m bench.live_hour                # three people, as fast as the server accepts it
    python -m bench.live_hour --minutes 10

Memory is the PSS of each process. The recording is built before the server starts.
"""

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from time import monotonic

import httpx2
import psutil
from tests.support.metrics import samples
from tests.support.processes import proxy_process
from tests.support.real_voices import Spoken

from bench.conversations import Conversation, converse
from bench.hearing import Heard
from bench.light_accuracy import table
from bench.live_client import LIGHT, Played, connected, play
from bench.process_memory import held
from bench.scoring import Rate, name_speakers, near_borders
from bench.servers import log_file
from bench.voices import load_voices

PEOPLE = ("Allison", "LibriVox", "Bruce")
PARTS = 12
MIB = 2**20

Memory = Sequence[tuple[float, float]]
"""Memory of the proxy and of its worker in MiB, at the start of each part of the recording and at
the end."""


def memory_of(proxy: psutil.Process) -> tuple[float, float]:
    """Memory of the proxy and of its worker in MiB."""
    total, workers = held(proxy).all, sum(held(child).all for child in proxy.children())
    return (total - workers) / MIB, workers / MIB


async def run(url: str, proxy: psutil.Process, built: Conversation) -> tuple[Played, Memory]:
    """Play the recording in a session and sample the memory."""
    played, memory = Played(), [memory_of(proxy)]
    every = len(built.samples) / 16_000 / PARTS

    async def watch() -> None:
        while len(memory) < PARTS:
            if played.segments and played.segments[-1].end >= len(memory) * every:
                memory.append(memory_of(proxy))
            await asyncio.sleep(1)

    async with connected(url) as connection:
        watching = asyncio.create_task(watch())
        await play(connection, built.samples, played, speed=0)
        watching.cancel()
    return played, [*memory, memory_of(proxy)]


def part(spans: Sequence[Spoken] | Sequence[Heard], low: float, high: float) -> list[Heard]:
    """The spans that begin between two times."""
    return [Heard(*(s.start, s.end, s.speaker, s.text)) for s in spans if low <= s.start < high]


def rows(built: Conversation, played: Played, memory: Memory) -> Iterator[Sequence[str]]:
    """A row for each part of the recording, and one for the end."""
    total = len(built.samples) / 16_000
    names = name_speakers(built.spoken, played.segments)
    for number, (proxy, worker) in enumerate(memory[1:]):
        low, high = number * total / PARTS, (number + 1) * total / PARTS
        truth, heard = part(built.spoken, low, high), part(played.segments, low, high)
        right = [one for one in heard if _speaker(truth, one) == names.get(one.speaker)]
        yield (
            *(f"{high / 60:.0f}", f"{proxy:.0f}", f"{worker:.0f}"),
            str(Rate(_seconds(right), _seconds(heard))),
            str(near_borders(truth, heard)),
        )


def _seconds(spans: Sequence[Heard]) -> float:
    return sum(span.end - span.start for span in spans)


def _speaker(truth: Sequence[Heard], heard: Heard) -> str:
    """The person who says most of a segment."""

    def common(one: Heard) -> float:
        return min(one.end, heard.end) - max(one.start, heard.start)

    return max(truth, key=common).speaker if truth else ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Run an hour in one realtime session.")
    parser.add_argument("--minutes", type=float, default=60)
    args = parser.parse_args()
    voices = load_voices()
    built = converse({name: voices[name] for name in PEOPLE}, args.minutes * 60)
    environ = {**LIGHT, "VIBEVOICE_LIGHT_WORKERS": "1"}
    with proxy_process(log_file("live-hour"), killed=True, **environ) as (process, url):
        began = monotonic()
        played, memory = asyncio.run(run(url, psutil.Process(process.pid), built))
        seconds = monotonic() - began
        with httpx2.Client(base_url=url) as http:
            open_sessions = samples(http)["vibevoice_realtime_sessions_open",]
    head = ("minutes", "proxy MiB", "worker MiB", "right label", "borders in 0.3 s")
    table(head, rows(built, played, memory))
    last, truth = played.segments[-1], built.spoken[-1]
    labels = {one.speaker for one in played.segments}
    print(
        f"{seconds:.0f} s for {built.spoken[-1].end:.0f} s of audio; {len(labels)} labels for "
        f"{len(PEOPLE)} people; the last segment ends at {last.end:.2f} s, in the reference at "
        f"{truth.end:.2f} s; open sessions after it: {open_sessions:.0f}"
    )


if __name__ == "__main__":
    main()
