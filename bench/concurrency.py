"""Measures the gain of batching: many clients at once compared with one at a time.

    python -m bench.concurrency --clients 32

Starts the proxy and the engine on the embedded checkpoint, sends the same number of clips in both
ways, alternately, and prints the ratio of throughputs and the engine's metrics. Clips are new
recordings each time, because the engine caches encoded audio.
"""

import argparse
import threading

from tests.support.engine import in_engine
from training.tiny_asr.espeak import Synthesizer
from training.tiny_asr.recordings import Composer

from bench.servers import log_file, real_engine
from bench.transcription import measure, transcribe


class RunningRequests:
    """Samples the engine's maximum `vllm:num_requests_running` every 50 ms while entered."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.most = max(self.most, in_engine(self._engine, "running"))

    def __enter__(self) -> "RunningRequests":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare many clients with one at a time.")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a clip")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    composer = Composer(Synthesizer(), 555, held_out=True)
    with real_engine(log_file("concurrency")) as (url, engine, _):
        transcribe(url, composer.recording(5, 1))
        for number in range(1, args.rounds + 1):
            figures = {}
            for clients in (1, args.clients):
                clips = [composer.recording(args.seconds, 2) for _ in range(args.clients)]
                with RunningRequests(engine) as running:
                    seconds, score = measure(url, clips, clients)
                audio = sum(clip.duration for clip in clips)
                figures[clients] = audio / seconds
                print(
                    f"round {number}: {clients} clients, {audio:.0f} s of audio in {seconds:.1f} s "
                    f"= {audio / seconds:.1f}x real time; at most {running.most} running at once; "
                    f"{score}",
                    flush=True,
                )
            ratio = figures[args.clients] / figures[1]
            print(f"round {number}: {args.clients} clients / 1 client = {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
