"""Runs VibeVoice-ASR at its true size on this machine: builds it with random weights, prepares and
serves it, sends requests, and compares it with transformers. This shows what the real model needs;
the answers are meaningless.

    python -m bench.true_size                            # 17 GB of disk, 22 GiB of memory
    python -m bench.true_size --layout both --reference  # 34 GB of disk
    python -m bench.true_size --layers 2 --reference     # of 28; all else is full size

The tokenizer is a stand-in (`bench.asr_tokenizer`). On a GPU the language model is bfloat16 too.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.stack import ENGINE_SECONDS, ROOT, STOP_SECONDS, PartEnded, free_port, wait_until_ready

from bench.asr_size import LAYOUTS, SIZE, Layout
from bench.asr_tokenizer import write_tokenizer
from bench.clips import clip
from bench.comparison import Comparison
from bench.engine_requests import EngineRefused, OutOfTime, events, transcription
from bench.process_memory import PeakMemory
from bench.servers import log_file
from vibevoice_vllm.prepare import prepare

DTYPE = "bfloat16"
TOP = 20
"""Number of most likely tokens for which log-probabilities are requested at each position."""
START = (
    *("--dtype", DTYPE, "--max-model-len", "4096", "--max-num-seqs", "4"),
    *("--cpu-kvcache-gib", "1", "--wait-ready-secs", "0"),
)
"""Flags of the start script: enough for two recordings of a minute, with little memory."""
_LOADED = re.compile(r"Loading weights took ([\d.]+) seconds")


@dataclass
class Asked:
    """A recording and its answer."""

    seconds: float
    audio: Path
    prompt: list[int] = field(default_factory=list)
    answer: list[int] = field(default_factory=list)
    top: list[dict[int, float]] = field(default_factory=list)
    """Log-probabilities of the `TOP` most likely tokens at each position of the answer."""
    times: list[float] = field(default_factory=list)
    """Seconds from sending the request to each token."""

    def __str__(self) -> str:
        token = (self.times[-1] - self.times[0]) / max(len(self.times) - 1, 1)
        return (
            f"{self.seconds:g} s of audio ({len(self.prompt)} tokens with the prompt): encoders "
            f"and prefill {self.times[0]:.1f} s, then {token:.2f} s per token"
        )


def ask(engine: str, seconds: float, audio: Path, tokens: int) -> Asked:
    """Transcribe a recording greedily, in exactly `tokens` tokens."""
    body = transcription(audio.read_bytes(), seconds, tokens)
    body |= {"logprobs": True, "top_logprobs": TOP}
    body |= {"return_token_ids": True, "return_tokens_as_token_ids": True}
    asked = Asked(seconds, audio)
    started = time.monotonic()
    for event in events(engine, body, started + ENGINE_SECONDS):
        message = json.loads(event)
        asked.prompt = message.get("prompt_token_ids") or asked.prompt
        for choice in message["choices"]:
            if not choice.get("token_ids"):
                continue
            asked.answer += choice["token_ids"]
            asked.times.append(time.monotonic() - started)
            for place in choice["logprobs"]["content"]:
                asked.top.append(
                    {int(t["token"].partition(":")[2]): t["logprob"] for t in place["top_logprobs"]}
                )
    return asked


@contextlib.contextmanager
def engine(model: Path, device: str, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Base URL and process of `scripts/start_asr_server.sh`, started to serve `model`."""
    port = free_port()
    script = str(ROOT / "scripts" / "start_asr_server.sh")
    command = [script, "--model-dir", str(model), "--port", str(port), "--device", device, *START]
    environ = {**os.environ, "PYTHON": sys.executable, "VIBEVOICE_ENCODER_DTYPE": DTYPE}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ, cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        yield url, process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve(model: Path, folder: Path, options: argparse.Namespace) -> list[Asked]:
    """Start the engine, send requests, and print what both took."""
    log = log_file("true-size")
    answers: list[Asked] = []
    started = time.monotonic()
    with engine(model, options.device, log) as (url, process), PeakMemory(process.pid) as memory:
        wait_until_ready(f"{url}/health", process, seconds=ENGINE_SECONDS)
        ready = time.monotonic() - started
        weights = "".join(_LOADED.findall(log.read_text(errors="replace"))[-1:]) or "?"
        print(
            f"  ready after {ready:.0f} s (weights {weights} s), {memory.peak} at most (log: {log})"
        )
        for number, seconds in enumerate(options.seconds):
            audio = folder / f"{seconds:g}s.wav"
            audio.write_bytes(clip(number, seconds))
            answers.append(ask(url, seconds, audio, options.tokens))
            print(f"  {answers[-1]}", flush=True)
        print(f"  {memory.peak} at most in total", flush=True)
    return answers


def compare(answers: Sequence[Asked], folder: Path) -> bool:
    """Whether transformers agrees with all answers; `folder` is in its layout."""
    asked = folder / "asked.json"
    cases: list[dict[str, Any]] = [
        {"audio": str(a.audio), "prompt": a.prompt, "answer": a.answer, "top": a.top}
        | {"backwards": a is answers[0]}
        for a in answers
    ]
    asked.write_text(json.dumps({"folder": str(folder), "dtype": DTYPE, "cases": cases}))
    command = [sys.executable, "-m", "bench.asr_reference", str(asked)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    with process, PeakMemory(process.pid) as memory:
        output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    found = [Comparison(**values) for values in json.loads(output.splitlines()[-1])]
    for answer, comparison in zip(answers, found, strict=True):
        print(f"  transformers, {answer.seconds:g} s of audio: {comparison}")
    print(f"  transformers: {memory.peak} at most", flush=True)
    return all(comparison.agrees for comparison in found)


def built(folder: Path, layout: Layout, options: argparse.Namespace) -> Path:
    """The checkpoint in a layout, created unless it exists."""
    made = folder / f"{layout}-{options.layers or 'all'}-{options.seed}"
    if (made / "model.safetensors.index.json").exists():
        print(f"{layout}: {made} already exists", flush=True)
        return made
    started = time.monotonic()
    flags = ["--layout", layout, "--layers", str(options.layers), "--seed", str(options.seed)]
    # In a separate process, whose memory is then free for the engine.
    command = [sys.executable, "-m", "bench.asr_checkpoint", str(made), *flags]
    subprocess.run(command, cwd=ROOT, check=True)
    print(f"  after {time.monotonic() - started:.0f} s", flush=True)
    return made


def run(layout: Layout, folder: Path, options: argparse.Namespace) -> bool:
    """Build, prepare, serve, and compare one layout; return whether transformers agrees."""
    source = built(folder, layout, options)
    base = folder / "tokenizer"
    if not base.exists():
        base.mkdir()
        write_tokenizer(base)
    served = folder / f"{source.name}-served"
    prepare(str(source), served, str(base))
    answers = serve(served, folder, options)
    if not options.reference:
        return True
    return compare(answers, served if layout == "hf" else built(folder, "hf", options))


def main() -> int:
    parser = argparse.ArgumentParser(description="Run VibeVoice-ASR at its true size.")
    parser.add_argument(
        "folder", type=Path, nargs="?", help="for the weights (default: a temporary one)"
    )
    parser.add_argument("--layout", choices=[*LAYOUTS, "both"], default="original")
    layers = SIZE["decoder_config"]["num_hidden_layers"]
    parser.add_argument("--layers", type=int, default=0, help=f"of the {layers}; 0 = all")
    parser.add_argument("--seed", type=int, default=0, help="for the weights")
    parser.add_argument("--tokens", type=int, default=12, help="length of each answer")
    seconds = [10.0, 60.0]
    parser.add_argument("--seconds", type=float, nargs="+", default=seconds, help="of recordings")
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--reference", action="store_true", help="compare with transformers")
    options = parser.parse_args()
    layouts = LAYOUTS if options.layout == "both" else [options.layout]
    with contextlib.ExitStack() as cleanup:
        folder = options.folder
        if not folder:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # a list, so that all layouts run
            return 0 if all([run(layout, folder, options) for layout in layouts]) else 1
        except (PartEnded, EngineRefused, OutOfTime, OSError) as error:
            print(f"true_size: {error!r}; log: {log_file('true-size')}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
