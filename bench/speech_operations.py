"""Counts, without timing, what a frame of the speech models requires of a GPU at published size.

    python -m bench.speech_operations

The models are built on torch's meta device, which holds no values, so neither a GPU nor their
memory is needed. On a GPU, an operation costs the host about 5 to 10 microseconds, which dominates
the time of a frame with few streams. A wait costs whatever is still in flight.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import torch
from tests.support.device_calls import Operations, counted

from bench.speech import MODELS, STEPS, TEXT
from vibevoice_tts.engines.longform import Longform
from vibevoice_tts.engines.realtime import SPEECH_WINDOW, Realtime
from vibevoice_tts.speech_model import SpeechRequest, Turn


def count(model: Realtime | Longform, streams: int, steps: int) -> list[Operations]:
    """Count the frames of one window; one frame follows a reading of text (Realtime)."""
    request = SpeechRequest((Turn(TEXT),), steps=steps, seed=1)
    window = []
    with counted():
        handles = [model.join(request) for _ in range(streams)]
        model.step()
        model.step()  # from here on, all indices of these rows are on the device
    for _ in range(SPEECH_WINDOW):
        with counted() as operations:
            model.step()
        window.append(operations)
    for handle in handles:
        model.leave(handle)
    return window


def main() -> None:
    parser = argparse.ArgumentParser(description="Count what a frame requires of a GPU.")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    for name, build in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            dtype = getattr(torch, options.dtype)
            capacity = max(options.streams)
            model = build(Path(folder), torch.device("meta"), dtype, 0, capacity)
            steps = STEPS[type(model)]
            for streams in options.streams:
                window = count(model, streams, steps)
                print(f"{name}, {options.dtype}, {steps} steps, {streams} streams, mean of a frame")
                for what in ("kernels", "views", "uploads", "total"):
                    values = [getattr(operations, what) for operations in window]
                    print(f"  {what:8} {sum(values) / len(values):8.1f}   {values}")
                waits = sum((operations.waits for operations in window), Counter())
                for what, number in waits.items():
                    print(f"  waits for {what}: {number / len(window):.1f}", flush=True)


if __name__ == "__main__":
    main()
