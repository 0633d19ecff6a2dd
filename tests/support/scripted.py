"""A fake engine that returns the reference transcript of a recording of real voices, section by
section."""

import io
import json
import tempfile
from collections.abc import Sequence
from typing import BinaryIO, cast

import numpy as np
import soxr
from tests.support.fakes import FakeEngine
from tests.support.real_voices import RATE, Samples, Spoken
from tests.support.recordings import wav

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.decode import decode
from vibevoice_proxy.transcription.sections import Section
from vibevoice_proxy.transcription.transcode import transcode


def upload(samples: Samples) -> bytes:
    """Convert a recording at 16 kHz to the uploaded file at 24 kHz, so its sections are exact."""
    return wav(soxr.resample(samples, RATE, SAMPLE_RATE), SAMPLE_RATE)


def sections_of(data: bytes, seconds: float) -> tuple[Section, ...]:
    """The sections that the proxy cuts an upload into; their files are closed."""
    blocks = decode(io.BytesIO(data), np.int16, max_seconds=3600, timeout=60)

    def new_file() -> BinaryIO:
        return cast(BinaryIO, tempfile.TemporaryFile(buffering=0))

    recording = transcode(blocks, new_file, encoding="auto", max_section_seconds=seconds)
    for section in recording.sections:
        section.file.close()
    return recording.sections


def script(engine: FakeEngine, spoken: Sequence[Spoken], sections: Sequence[Section]) -> None:
    """Make `engine` return the reference transcript. Speaker numbers restart in each section, as
    with the model; sections are identified by their lengths."""
    texts = {f"{part.duration:.2f} seconds": _text(part, spoken) for part in sections}
    assert len(texts) == len(sections)
    engine.text_for = lambda text: next((one for key, one in texts.items() if key in text), None)


def _text(section: Section, spoken: Sequence[Spoken]) -> str:
    """The model's JSON for a section."""
    end = section.start + section.duration
    numbers: dict[str, int] = {}
    found: list[dict[str, object]] = []
    for one in spoken:
        if section.start <= (one.start + one.end) / 2 < end:
            found.append(
                {
                    "Start": round(max(0.0, one.start - section.start), 2),
                    "End": round(min(one.end, end) - section.start, 2),
                    "Speaker": numbers.setdefault(one.speaker, len(numbers)),
                    "Content": f"{one.speaker} speaks.",
                }
            )
    return json.dumps(found, separators=(",", ":"))
