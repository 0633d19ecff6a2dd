"""Compares the speech models that need no VibeVoice weights: hibari and espeak.

    python -m bench.light_voice

Each model speaks 50 sentences with numbers, dates, money, and abbreviations through the proxy's
API, one at a time. Moonshine tiny-en transcribes them. The words are compared with those that a
person would say, with numbers as digits on both sides. First sound is the time from the request to
the first bytes of raw samples. The real-time factors are the response time, and the worker's
processor time, per second of speech. Memory is that of the worker after all sentences.
"""

import argparse
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import jiwer
import numpy as np
import psutil
import soxr
from tests.support.processes import proxy_process
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from bench.servers import log_file
from vibevoice_core.audio import SAMPLE_RATE

MODELS = ("hibari", "espeak")
HEARD_RATE = 16_000
SENTENCES = (
    # numbers
    ("The town has 48,300 people.", "the town has forty eight thousand three hundred people"),
    ("We sold 1,234,567 tickets.", "we sold one million two hundred thirty four thousand five "
     "hundred sixty seven tickets"),
    ("About 12.5% of the voters stayed home.", "about twelve point five percent of the voters "
     "stayed home"),
    ("Between 5–10% of the parts fail.", "between five to ten percent of the parts fail"),
    ("The fever rose to 38.9 degrees.", "the fever rose to thirty eight point nine degrees"),
    ("It fell to -7 degrees in the night.", "it fell to minus seven degrees in the night"),
    ("She finished 3rd and he finished 21st.", "she finished third and he finished twenty first"),
    ("Read pages 12-15 before Monday.", "read pages twelve to fifteen before monday"),
    ("The team won 10-2.", "the team won ten to two"),
    ("Add 3/4 of a cup of sugar.", "add three quarters of a cup of sugar"),
    ("Two thirds is more than 1/2.", "two thirds is more than one half"),
    ("My number is 555-0199.", "my number is five five five zero one nine nine"),
    ("Flight 417 leaves from gate 22.", "flight four hundred seventeen leaves from gate twenty "
     "two"),
    # dates and times
    ("The meeting is on Tuesday, Jan. 5, 2027.", "the meeting is on tuesday january fifth twenty "
     "twenty seven"),
    ("He was born on March 4, 1985.", "he was born on march fourth nineteen eighty five"),
    ("The house was built in 1908.", "the house was built in nineteen oh eight"),
    ("It happened on 10/12/2019.", "it happened on october twelfth twenty nineteen"),
    ("The file is from 2024-07-31.", "the file is from july thirty first twenty twenty four"),
    ("We met on the 3rd of May.", "we met on the third of may"),
    ("The shop opened on Sept. 30.", "the shop opened on september thirtieth"),
    ("The train leaves at 3:45 p.m.", "the train leaves at three forty five p m"),
    ("Lunch is at 12:30 today.", "lunch is at twelve thirty today"),
    ("They start at 9 a.m. on Mondays.", "they start at nine a m on mondays"),
    ("The office is open 9am-5pm.", "the office is open nine a m to five p m"),
    ("Music of the 1980s is back.", "music of the nineteen eighties is back"),
    # money
    ("The ticket costs $19.99.", "the ticket costs nineteen dollars and ninety nine cents"),
    ("She paid £45 for the dress.", "she paid forty five pounds for the dress"),
    ("A coffee is €3 here.", "a coffee is three euros here"),
    ("The company made $1.5 million.", "the company made one point five million dollars"),
    ("They lost £3.2bn last year.", "they lost three point two billion pounds last year"),
    ("Parking is $5–$10 a day.", "parking is five dollars to ten dollars a day"),
    ("The fine is 200 USD.", "the fine is two hundred dollars"),
    ("You owe me $1,250.50.", "you owe me one thousand two hundred fifty dollars and fifty cents"),
    ("A stamp costs 68¢ now.", "a stamp costs sixty eight cents now"),
    # abbreviations
    ("Dr. Smith will see you now.", "doctor smith will see you now"),
    ("Mr. and Mrs. Jones left early.", "mister and missus jones left early"),
    ("She lives on Baker St. in London.", "she lives on baker street in london"),
    ("St. Paul is a city in Minnesota.", "saint paul is a city in minnesota"),
    ("Take apples, pears, etc. with you.", "take apples pears et cetera with you"),
    ("The U.S. team beat the U.K. team.", "the u s team beat the u k team"),
    ("Order no. 42 is ready.", "order number forty two is ready"),
    ("The box weighs 5 kg.", "the box weighs five kilograms"),
    ("We drove 300 km in 3 hrs.", "we drove three hundred kilometers in three hours"),
    ("The limit is 65 mph here.", "the limit is sixty five miles per hour here"),
    ("It is 25°C in the shade.", "it is twenty five degrees celsius in the shade"),
    ("Prof. Brown met Gov. Lee.", "professor brown met governor lee"),
    ("It is France vs. Spain tonight.", "it is france versus spain tonight"),
    ("He has a Ph.D. in history.", "he has a p h d in history"),
    ("NASA and the FBI declined to comment.", "nasa and the f b i declined to comment"),
    ("Please read Chapter IV again.", "please read chapter four again"),
)  # fmt: skip
"""The written sentence, and what a person says."""


@dataclass
class Spoken:
    """One model's results for the sentences."""

    heard: list[str] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    """Seconds to the first bytes, for each sentence."""
    seconds: float = 0.0
    """Total response time in seconds."""
    audio: float = 0.0
    """Seconds of speech."""


_normalizer = EnglishTextNormalizer({})


def plain(text: str) -> str:
    """Normalize `text`: lower case, numbers as groups of digits, no ordinals, and spelled-out
    abbreviations as one word."""
    text = re.sub(r"(?<=[a-z])\.(?=[a-z]\b)", " ", text.lower())
    text = re.sub(r"\b(\d{1,2})-(\d{1,2})\b", r"\1 to \2", text)
    text = re.sub(r"(?<=\d)[-:](?=\d)", "", text)
    text = re.sub(r"\betc\b", "et cetera", re.sub(r"\bvs\b", "versus", text))
    text = re.sub(r"(?<=\d)(?:[snrt][tdh]|s)\b", "", _normalizer(text.replace("-", " ")))
    text = re.sub(r"(?<=\d) (?=\d)", "", text)
    return " ".join(re.sub(r"\b([a-z]) (?=[a-z]\b)", r"\1", text).split())


def speak(http: httpx2.Client, model: str, text: str, spoken: Spoken) -> np.ndarray:
    """The samples of one sentence, (samples,) at HEARD_RATE."""
    body = {"model": model, "input": text, "response_format": "pcm", "seed": 1}
    started = time.perf_counter()
    with http.stream("POST", "/v1/audio/speech", json=body) as answer:
        answer.raise_for_status()
        chunks = answer.iter_bytes()
        data = [next(chunks)]
        spoken.first.append(time.perf_counter() - started)
        data += chunks
    spoken.seconds += time.perf_counter() - started
    samples = np.frombuffer(b"".join(data), "<i2").astype(np.float32) / 32768
    spoken.audio += len(samples) / SAMPLE_RATE
    return soxr.resample(samples, SAMPLE_RATE, HEARD_RATE)


def worker_of(proxy: int, model: str) -> psutil.Process:
    """The worker process of `model`."""
    (found,) = (
        child
        for child in psutil.Process(proxy).children()
        if any(f'"kind": "{model}"' in argument for argument in child.cmdline())
    )
    return found


def main() -> None:
    from vibevoice_light import find_moonshine  # pyright: ignore[reportMissingImports]
    from vibevoice_light.moonshine import Moonshine  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(description="Compare speech models, transcribed back.")
    parser.add_argument("--texts", action="store_true", help="print incorrectly recognized words")
    parser.add_argument(
        "--moonshine", type=Path, help="folder with its files (default: where setup puts them)"
    )
    options = parser.parse_args()
    recognizer = Moonshine.load(options.moonshine or find_moonshine())
    expected = [plain(spoken) for _, spoken in SENTENCES]
    with proxy_process(log_file("light-voice"), ASR_API="off", TTS_MODEL_TYPE="auto") as (
        proxy,
        url,
    ):
        with httpx2.Client(base_url=url, timeout=120) as http:
            for model in MODELS:
                worker = worker_of(proxy.pid, model)
                speak(http, model, "This is a first sentence.", Spoken())
                spoken, before = Spoken(), worker.cpu_times()
                audios = [speak(http, model, written, spoken) for written, _ in SENTENCES]
                after = worker.cpu_times()
                processor = after.user + after.system - before.user - before.system
                heard = [plain(recognizer.recognize(audio).text) for audio in audios]
                counts = jiwer.process_words(expected, heard)
                wrong = counts.substitutions + counts.deletions + counts.insertions
                words = counts.hits + counts.substitutions + counts.deletions
                first = 1000 * np.quantile(spoken.first, [0.5, 1.0])
                print(
                    f"{model}: {wrong} of {words} words wrong ({100 * wrong / words:.1f} %); first "
                    f"sound {first[0]:.0f} ms, at most {first[1]:.0f} ms; real-time factor "
                    f"{spoken.seconds / spoken.audio:.3f}, processor "
                    f"{processor / spoken.audio:.3f}; {worker.memory_info().rss / 1e6:.0f} MB",
                    flush=True,
                )
                if options.texts:
                    pairs = zip(expected, heard, strict=True)
                    print(*(f"  {a}\n    {b}" for a, b in pairs if a != b), sep="\n")


if __name__ == "__main__":
    main()
