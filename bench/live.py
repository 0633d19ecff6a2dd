"""Measures delay and word error rate of realtime transcription at the pace of speech.

    python -m bench.live                    # 1, 4 and 16 sessions, about four minutes
    python -m bench.live --sessions 4

A client plays conversations of two real women, assembled with a known transcript, in blocks of 0.1
s to a proxy with the light recognizer, with default settings on all cores. The client runs on the
same cores.

- The delay of `completed` is measured from the end of the last word of a turn. It includes the 0.5
  s of silence that end the turn.
- The delay of a delta is measured from the end of its word. Word times within an utterance are
  estimated in proportion to the number of letters, with an error of a few tenths of a second.
- The word error rates are for the same recordings, transcribed live and as files.
"""

import argparse
import asyncio
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise

import jiwer
import numpy as np
import psutil
from tests.support.processes import proxy_process
from tests.support.real_voices import Spoken
from tests.support.realtime import TRANSCRIPTION
from tests.support.wording import words

from bench.conversations import Conversation, converse
from bench.hearing import Proxy
from bench.light_accuracy import table, text_of
from bench.live_client import ENDS, LIGHT, Played, connected, play
from bench.scoring import Rate, word_errors
from bench.servers import log_file, processor_seconds
from bench.voices import load_voices

PEOPLE = ("Allison", "LibriVox")
SECONDS = 45.0
"""Length of each recording."""
SPREAD_SECONDS = 5.0
"""Period over which the sessions of one run start."""
SLACK_SECONDS = 0.1
"""Tolerance for the time of a turn's end."""


async def run(url: str, built: Sequence[Conversation]) -> Sequence[Played]:
    """Play each conversation in its own session, concurrently."""

    async def hold(number: int, one: Conversation) -> Played:
        played = Played()
        await asyncio.sleep(number * SPREAD_SECONDS / len(built))
        async with connected(url) as connection:
            await play(connection, one.samples, played, speed=1)
        return played

    return await asyncio.gather(*(hold(*pair) for pair in enumerate(built)))


def turn_delays(played: Played, spoken: Sequence[Spoken]) -> Iterator[float]:
    """Seconds from the end of each turn's speech to its `completed`. Turns that ended because of
    their length are left out, since speech continues after them."""
    ends = {
        found.event["item_id"]: found.event["audio_end_ms"] / 1000
        for found in played.of("input_audio_buffer.speech_stopped")
    }
    for found in played.of(ENDS[0]):
        end = ends[found.event["item_id"]]
        before = [one for one in spoken if one.end <= end + SLACK_SECONDS]
        is_speaking = any(one.start < end < one.end for one in spoken)
        if before and not is_speaking:
            yield found.at - played.began - before[-1].end


def word_delays(played: Played, spoken: Sequence[Spoken]) -> Iterator[float]:
    """Seconds from the end of each word to the first delta that contains it."""
    said = [pair for one in spoken for pair in _timed(one)]
    came = [
        (word, found.at - played.began)
        for found in played.of(f"{TRANSCRIPTION}.delta")
        for word in words(found.event["delta"])
    ]
    if not said or not came:
        return
    reference, hypothesis = (" ".join(word for word, _ in side) for side in (said, came))
    for chunk in jiwer.process_words(reference, hypothesis).alignments[0]:
        if chunk.type == "equal":
            for at in range(chunk.ref_end_idx - chunk.ref_start_idx):
                yield came[chunk.hyp_start_idx + at][1] - said[chunk.ref_start_idx + at][1]


def _timed(one: Spoken) -> Iterator[tuple[str, float]]:
    """The words of an utterance and their end times."""
    found = words(one.text)
    letters = np.cumsum([0, *(len(word) + 1 for word in found)])
    for word, (_, until) in zip(found, pairwise(letters.tolist()), strict=True):
        yield word, one.start + (one.end - one.start) * until / letters[-1]


def quantiles(values: Sequence[float]) -> tuple[str, str]:
    """The median and the 95th percentile."""
    if not values:
        return "–", "–"
    return f"{np.quantile(values, 0.5):.2f}", f"{np.quantile(values, 0.95):.2f}"


def rows(
    url: str, proxy: psutil.Process, built: Sequence[Conversation], counts: Sequence[int]
) -> Iterator[Sequence[str]]:
    """A row of results for each number of sessions."""
    as_files: dict[int, Rate] = {}
    for count in counts:
        chosen = built[:count]
        family = [proxy, *proxy.children()]
        spent = sum(map(processor_seconds, family))
        sessions = asyncio.run(run(url, chosen))
        spent = sum(map(processor_seconds, family)) - spent
        turns, first = [], []
        live = Rate(0, 0)
        for number, (played, one) in enumerate(zip(sessions, chosen, strict=True)):
            turns += turn_delays(played, one.spoken)
            first += word_delays(played, one.spoken)
            truth = " ".join(spoken.text for spoken in one.spoken)
            live += word_errors(truth, played.text)
            if number not in as_files:
                heard = Proxy(url, "light").hear(one.samples)
                as_files[number] = word_errors(truth, text_of(heard))
        seconds = sum(len(one.samples) / 16_000 for one in chosen)
        failed = sum(len(played.of(ENDS[1])) for played in sessions)
        yield (
            *(f"{count}", f"{len(turns)}", f"{failed}", *quantiles(turns), *quantiles(first)),
            *(str(live), str(sum((as_files[number] for number in range(count)), Rate(0, 0)))),
            f"{spent / seconds:.3f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure realtime transcription at the pace of speech."
    )
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each recording")
    args = parser.parse_args()
    voices = load_voices()
    people = {name: voices[name] for name in PEOPLE}
    built = [converse(people, args.seconds, seed=seed) for seed in range(max(args.sessions))]
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with proxy_process(log_file("live"), killed=True, **LIGHT) as (process, url):
        head = ("sessions", "turns", "failed", "completed p50 s", "p95 s")
        head += ("delta p50 s", "p95 s", "WER live", "WER as file", "CPU s per s of audio")
        table(head, rows(url, psutil.Process(process.pid), built, args.sessions))
    print(f"load average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
