"""Transcribe `samples/` with the embedded checkpoint through engine and proxy: `make demo`.

Exit code 0 only if every transcript has the words, speakers and times of the `.json` beside it.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import httpx2

from scripts.stack import EMBEDDED, ROOT, PartEnded, free_port, stack

TOLERANCE = 0.3
"""Seconds a segment's start or end may be off."""


def mistakes(expected: list[dict], segments: list[dict]) -> list[str]:
    """What differs between the segments that a sample holds and those transcribed."""
    if len(expected) != len(segments):
        return [f"{len(segments)} segments where the sample has {len(expected)}"]
    found = []
    for number, (want, got) in enumerate(zip(expected, segments, strict=True), 1):
        for key in ("speaker", "text"):
            if want[key] != got[key]:
                found.append(f"segment {number}: {key} is {got[key]!r}, not {want[key]!r}")
        for key in ("start", "end"):
            if abs(want[key] - got[key]) > TOLERANCE:
                found.append(f"segment {number}: {key} is {got[key]} s, not {want[key]} s")
    return found


def main() -> int:
    log = Path(tempfile.gettempdir()) / "vibevoice-demo.log"
    samples = sorted((ROOT / "samples").glob("*.wav"))
    api_port, asr_port = free_port(), free_port()
    print(f"Starting vLLM with {Path(EMBEDDED).relative_to(ROOT)} and the proxy (log: {log}) …")
    started = time.monotonic()
    failed = 0
    try:
        with stack(EMBEDDED, api_port, asr_port, log):
            print(f"Ready after {time.monotonic() - started:.0f} s.\n")
            for sample in samples:
                with sample.open("rb") as audio:
                    answer = httpx2.post(
                        f"http://127.0.0.1:{api_port}/v1/audio/transcriptions",
                        files={"file": audio},
                        data={"model": "vibevoice", "response_format": "diarized_json"},
                        timeout=300,
                    )
                answer.raise_for_status()
                transcript = answer.json()
                print(f"{sample.relative_to(ROOT)} ({transcript['duration']:.1f} s)")
                for s in transcript["segments"]:
                    print(f"  {s['start']:6.1f} – {s['end']:5.1f} s  {s['speaker']}: {s['text']}")
                truth = json.loads(sample.with_suffix(".json").read_text())
                wrong = mistakes(truth["segments"], transcript["segments"])
                for line in wrong:
                    print(f"  WRONG {line}")
                failed += bool(wrong)
                print()
    except PartEnded as error:
        print(f"demo: {error}; the log is {log}", file=sys.stderr)
        return 1
    print("All transcripts are right." if not failed else f"{failed} transcripts are wrong.")
    return 1 if failed or not samples else 0


if __name__ == "__main__":
    sys.exit(main())
