"""Transcribes `samples/` through the engine and the proxy: `make demo`.

The light recognizer transcribes a conversation; the engine transcribes digits with the embedded
checkpoint. Exits with 0 only if the words, speakers, and times of every transcript match the
`.json` next to the sample.
"""

import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import httpx2

from scripts.stack import EMBEDDED, ROOT, PartEnded, free_port, stack
from vibevoice_vllm.gpu import GpuError

TOLERANCE = 0.3
"""Tolerance in seconds for the start and end of a segment."""


def mistakes(expected: list[dict], segments: list[dict]) -> list[str]:
    """The differences between a sample's expected segments and the transcribed ones."""
    if len(expected) != len(segments):
        return [f"{len(segments)} segments, expected {len(expected)}"]
    found = []
    for number, (want, got) in enumerate(zip(expected, segments, strict=True), 1):
        if want["speaker"] != got["speaker"]:
            found.append(f"segment {number}: speaker {got['speaker']}, expected {want['speaker']}")
        if words(want["text"]) != words(got["text"]):
            found.append(f"segment {number}: text {got['text']!r}, expected {want['text']!r}")
        for key in ("start", "end"):
            if abs(want[key] - got[key]) > TOLERANCE:
                found.append(f"segment {number}: {key} {got[key]} s, expected {want[key]} s")
    return found


def words(text: str) -> list[str]:
    """`text` without case and punctuation."""
    return re.findall(r"[\w']+", text.lower())


def main() -> int:
    # An empty folder: a `.env` in the repository does not change the demo.
    folder = Path(tempfile.mkdtemp(prefix="vibevoice-demo-"))
    log = folder / "demo.log"
    truths = sorted((ROOT / "samples").glob("*.json"))
    api_port, asr_port = free_port(), free_port()
    print(f"Starting vLLM with {Path(EMBEDDED).relative_to(ROOT)} and the proxy (log: {log}) …")
    started = time.monotonic()
    failed = 0
    try:
        with stack(EMBEDDED, api_port, asr_port, log, folder=folder):
            print(f"Ready after {time.monotonic() - started:.0f} s.\n")
            for file in truths:
                truth = json.loads(file.read_text())
                sample = next(file.parent.glob(f"{file.stem}.[!j]*"))
                model = truth.get("model", "vibevoice")
                with sample.open("rb") as audio:
                    answer = httpx2.post(
                        f"http://127.0.0.1:{api_port}/v1/audio/transcriptions",
                        files={"file": audio},
                        data={"model": model, "response_format": "diarized_json"},
                        timeout=300,
                    )
                answer.raise_for_status()
                transcript = answer.json()
                print(f"{sample.relative_to(ROOT)} ({transcript['duration']:.1f} s, {model})")
                for s in transcript["segments"]:
                    print(f"  {s['start']:6.1f} – {s['end']:5.1f} s  {s['speaker']}: {s['text']}")
                wrong = mistakes(truth["segments"], transcript["segments"])
                for line in wrong:
                    print(f"  WRONG {line}")
                failed += bool(wrong)
                print()
    except (PartEnded, GpuError, ValueError, httpx2.HTTPError) as error:
        print(f"demo: {error}; see the log: {log}", file=sys.stderr)
        return 1
    if failed or not truths:
        print(f"Wrong transcripts: {failed} of {len(truths)}; see the log: {log}")
        return 1
    shutil.rmtree(folder)
    print("All transcripts are correct.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
