"""The recognizers under test: the light one in this process, or any recognizer behind a proxy."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import httpx2
import numpy as np
from numpy.typing import NDArray
from tests.support.recordings import wav

import vibevoice_light
from vibevoice_light import LOOKAHEAD_SECONDS, LightRecognizer

RATE = 16_000
BLOCK = 10 * RATE
TIMEOUT = 3600


@dataclass(frozen=True, slots=True)
class Heard:
    """A segment of a transcript."""

    start: float
    end: float
    speaker: str
    text: str


class Recognizer(Protocol):
    """Turns a recording into segments."""

    def hear(self, samples: NDArray[np.float32]) -> Sequence[Heard]:
        """The segments of `samples`, shape (samples,): mono, 16 kHz."""
        ...


class Light:
    """The light recognizer, single-threaded, in this process."""

    def __init__(self, models: Path) -> None:
        self._recognizer = LightRecognizer.load(models)

    def hear(self, samples: NDArray[np.float32]) -> Sequence[Heard]:
        """See Recognizer. Unclear segments, such as those in another language, have speakers and
        times but no text."""
        listener = self._recognizer.listen(LOOKAHEAD_SECONDS)
        segments = [segment for block in _blocks(samples) for segment in listener.feed(block)]
        return [
            Heard(one.start, one.end, str(one.speaker), "" if one.is_unclear else one.text)
            for one in (*segments, *listener.finish())
        ]


def _blocks(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for at in range(0, len(samples), BLOCK):
        yield samples[at : at + BLOCK]


class Proxy:
    """A proxy's recognizer for a model name, through diarized_json."""

    def __init__(self, url: str, model: str) -> None:
        self._model = model
        self._url = f"{url.rstrip('/')}/v1/audio/transcriptions"

    def hear(self, samples: NDArray[np.float32]) -> Sequence[Heard]:
        """See Recognizer."""
        data = wav(samples.clip(-1, 1), RATE, format="FLAC")
        form = {"model": "whisper-1", "response_format": "diarized_json"}
        answer = httpx2.post(self._url, files={"file": data}, data=form, timeout=TIMEOUT)
        answer.raise_for_status()
        return [
            Heard(*(found[name] for name in ("start", "end", "speaker", "text")))
            for found in answer.json()["segments"]
        ]


class Remembering:
    """Caches the light recognizer's segments in a folder, for as long as neither its code nor the
    recording changes, so that scoring can be repeated quickly."""

    def __init__(self, recognizer: Recognizer, folder: Path) -> None:
        self._recognizer = recognizer
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        package = Path(vibevoice_light.__file__).parent
        self._code = hashlib.sha256()
        for file in sorted(package.glob("*.py")):
            self._code.update(file.read_bytes())

    def hear(self, samples: NDArray[np.float32]) -> Sequence[Heard]:
        """See Recognizer."""
        digest = self._code.copy()
        digest.update(samples.tobytes())
        file = self._folder / f"{digest.hexdigest()[:32]}.json"
        if not file.exists():
            heard = [asdict(one) for one in self._recognizer.hear(samples)]
            file.write_text(json.dumps(heard, indent=1))
        return [Heard(**one) for one in json.loads(file.read_text())]
