"""The natural English voice from the package hibari-tts."""

import subprocess
import sys

import numpy as np
import pytest
from tests.support.processes import cpu_seconds

from vibevoice_tts.engines.english import MAX_NUMBER, MAX_WORD, readable
from vibevoice_tts.engines.hibari import MAX_PHONEMES, VOICE, Hibari
from vibevoice_tts.models import ModelConfig
from vibevoice_tts.speech_model import (
    CannotClone,
    Chunk,
    End,
    NotEnglish,
    SpeechError,
    SpeechRequest,
    Turn,
    UnknownVoice,
)
from vibevoice_tts.text import sentences

HIBARI = ModelConfig("hibari")
CLOSED = """
import sys
FORBIDDEN = ("socket.", "urllib.", "http.", "subprocess.", "os.system", "os.exec", "os.posix_spawn",
             "os.fork", "pickle.")
def watch(event, arguments):
    if watching and event.startswith(FORBIDDEN):
        raise AssertionError(event)
watching = False
sys.addaudithook(watch)
from vibevoice_tts.models import ModelConfig
from vibevoice_tts.speech_model import Chunk, SpeechRequest, Turn
from vibevoice_tts.worker import load_model
import vibevoice_tts.engines.hibari
watching = True
model = load_model(ModelConfig("hibari"))
model.join(SpeechRequest((Turn("On Jan. 5 a zyxomma cost $7.50."),)))
(chunk,) = model.step()
watching = False
print(len(chunk.samples) / model.sample_rate)
"""
"""Loads the model and speaks, with an audit hook for network, processes and pickles."""


@pytest.fixture(scope="module")
def hibari() -> Hibari:
    return Hibari.load(HIBARI)


def speak(hibari: Hibari, *requests: SpeechRequest) -> list[np.ndarray]:
    """The audio of each request; all are spoken together."""
    handles = [hibari.join(request) for request in requests]
    chunks: dict[int, list[np.ndarray]] = {handle: [] for handle in handles}
    ends: list[End] = []
    while len(ends) < len(handles):
        for event in hibari.step():
            match event:
                case Chunk(handle, samples):
                    chunks[handle].append(samples)
                case End():
                    ends.append(event)
    assert {end.reason for end in ends} == {"stop"}
    return [np.concatenate(chunks[handle]) for handle in handles]


def said(text: str, voice: str = "", seed: int | None = 1) -> SpeechRequest:
    return SpeechRequest((Turn(text, voice),), seed=seed)


def sounds(hibari: Hibari, text: str) -> str:
    """The phonemes of a text without stress marks and punctuation."""
    spelled = " ".join(hibari.voice.g2p(readable(sentence)) for sentence in sentences(text))
    letters = (c for c in spelled if c == " " or (c.isalpha() and c not in "ˈˌ"))
    return " ".join("".join(letters).split())


def test_it_is_audible(hibari: Hibari) -> None:
    """Speech has a natural duration, is loud enough and never clips."""
    (audio,) = speak(hibari, said("zero one two three four"))
    assert audio.dtype == np.float32
    assert 1 < len(audio) / Hibari.sample_rate < 4
    assert 0.1 < np.abs(audio).max() <= 1.0


def test_requests_together_sound_as_alone(hibari: Hibari) -> None:
    """Identical to the last sample with the same seed; another seed, or none, sounds different."""
    requests = [
        said(text, seed=seed)
        for text, seed in (("Hello there. How are you?", 1), ("One two. Three.", 2), ("Hello.", 1))
    ]
    together = speak(hibari, *requests)
    for request, audio in zip(requests, together, strict=True):
        (alone,) = speak(hibari, request)
        assert np.array_equal(alone, audio)
    same, other, drawn = speak(
        hibari, said("Hello."), said("Hello.", seed=2), said("Hello.", seed=None)
    )
    assert np.array_equal(same, together[2])
    assert not np.array_equal(same, other)
    assert not np.array_equal(same, drawn)


def test_step_is_one_sentence(hibari: Hibari) -> None:
    """The first audio is available before the rest of the text has been spoken."""
    handle = hibari.join(said("One. Mr. J. Two. Three."))
    steps = [hibari.step() for _ in range(3)]
    assert [type(event) for (event,) in steps] == [Chunk] * 3
    assert hibari.step() == [End(handle, "stop")]
    assert hibari.step() == []


def test_a_long_sentence_is_spoken_in_parts(hibari: Hibari) -> None:
    """No part exceeds the limit on phonemes, and no word is lost."""
    text = "nine hundred and ninety nine sheep, " * 40
    handle = hibari.join(said(text))
    parts = hibari.waiting(handle)
    assert len(parts) > 3
    assert max(map(len, parts)) <= MAX_PHONEMES
    assert " ".join(parts).count("ʃˈip") == 40
    hibari.leave(handle)


def test_request_that_left_makes_nothing(hibari: Hibari) -> None:
    """After a request has left, there are no events; leaving again has no effect."""
    handle = hibari.join(said("One. Two. Three."))
    assert len(hibari.step()) == 1
    hibari.leave(handle)
    hibari.leave(handle)
    assert hibari.step() == []


@pytest.mark.parametrize("name", [*HIBARI.card.voice_aliases, "", "HEART", VOICE])
def test_names_find_the_voice(hibari: Hibari, name: str) -> None:
    """OpenAI's names, an empty name, its own name, and a part of it in any case work."""
    assert hibari.find_voice(name) == VOICE


@pytest.mark.parametrize("name", ["emma", "fenrir", "../../etc/passwd", "espeak-en-us-man", "\0"])
def test_other_names_are_refused(hibari: Hibari, name: str) -> None:
    """This includes voices of the package that would have to be downloaded."""
    with pytest.raises(UnknownVoice, match=VOICE):
        hibari.join(said("Hello.", name))


def test_cloning_is_refused(hibari: Hibari) -> None:
    """The error says that it cannot clone voices."""
    samples = {"mine": np.zeros(24000, np.float32)}
    with pytest.raises(CannotClone, match="cannot clone"):
        hibari.join(SpeechRequest((Turn("Hello.", "mine"),), samples=samples))


@pytest.mark.parametrize("text", ["你好。", "ﷺ"])
def test_a_text_without_a_sound_is_refused(hibari: Hibari, text: str) -> None:
    """The text is rejected instead of being spoken as silence; the message says which model can
    read it."""
    with pytest.raises(NotEnglish, match="the model espeak can"):
        hibari.join(said(text))


def test_it_needs_nothing_from_outside() -> None:
    """The model loads and speaks, even unknown words, without a socket, a process or a pickle."""
    done = subprocess.run(
        [sys.executable, "-c", CLOSED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 2 < float(done.stdout) < 8


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        pytest.param("It is 1/2 of 2/3.", "It is one half of two thirds.", id="final-fraction"),
        pytest.param("Pages 12-15.", "Pages twelve to fifteen.", id="final-range"),
        pytest.param("From 5-10% off.", "From five to ten percent off.", id="percent-range"),
        pytest.param("Take 3–4 eggs.", "Take three to four eggs.", id="dash-range"),
        pytest.param("It is $5–$7.", "It is five dollars to seven dollars.", id="money-range"),
        pytest.param("Open 9am-5pm.", "Open nine A.M. to five P.M.", id="clock-range"),
        pytest.param("It cost £3.2bn.", "It cost three point two billion pounds.", id="billion"),
        pytest.param("Pay 20 USD now.", "Pay twenty dollars now.", id="currency-after"),
        pytest.param("Pay US$20 now.", "Pay twenty dollars now.", id="us-dollars"),
        pytest.param("Part Ⅳ has 2⁴.", "Part four has two four.", id="other-digits"),
        pytest.param(
            "It has 1234567890123456.",
            "It has one two three four five six seven eight nine zero one two three four five six.",
            id="long-number",
        ),
    ],
)
def test_numbers_are_read_as_people_do(hibari: Hibari, written: str, spoken: str) -> None:
    """Numbers that the package alone would misread sound like the spelled-out words."""
    assert sounds(hibari, written) == sounds(hibari, spoken)


def test_periods_within_a_sentence_make_no_pause(hibari: Hibari) -> None:
    """This holds for abbreviations and list numbers; each sentence ends with a pause."""
    handles = [
        hibari.join(said(text))
        for text in ("Pears, etc. are fruit.", "1. Buy milk.", "We left at 9 a.m.")
    ]
    for handle in handles:
        (part,) = hibari.waiting(handle)
        assert part.index(".") == len(part) - 1
        hibari.leave(handle)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("9" * 1200, id="digits"),
        pytest.param("1," * 600, id="digits-and-commas"),
        pytest.param("aA" * 600, id="capitals"),
        pytest.param("a-" * 600, id="hyphens"),
        pytest.param("1/" * 600, id="slashes"),
        pytest.param("(" * 1200 + "a", id="brackets"),
        pytest.param("é" * 1200, id="accents"),
        pytest.param("⁴" * 1200, id="raised"),
        pytest.param("[a](" * 300, id="links"),
    ],
)
def test_no_text_breaks_it_or_takes_long(hibari: Hibari, text: str) -> None:
    """This holds for a passage of hostile text, on which the package alone fails or takes hours."""

    def read() -> None:
        handle = hibari.join(said(text))
        assert all(len(part) <= MAX_PHONEMES for part in hibari.waiting(handle))
        hibari.leave(handle)

    assert cpu_seconds(read, 5) < 5


def test_a_text_that_the_package_breaks_on_costs_that_request_alone(
    hibari: Hibari, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An example is a number of more than 36 digits without our preprocessing."""
    monkeypatch.setattr("vibevoice_tts.engines.hibari.readable", lambda sentence: sentence)
    with pytest.raises(SpeechError, match="cannot read this text"):
        hibari.join(said("9" * 40))
    monkeypatch.undo()
    assert len(speak(hibari, said("9" * 40))[0]) > 0


def test_words_and_numbers_have_bounds() -> None:
    """Longer ones are cut or spelled out; shorter ones are unchanged."""
    assert readable("a" * MAX_WORD) == "a" * MAX_WORD
    assert max(map(len, readable("a" * 1000).split())) == MAX_WORD
    assert readable("1" * MAX_NUMBER) == "1" * MAX_NUMBER
    assert readable("1" * (MAX_NUMBER + 1)) == " ".join("1" * (MAX_NUMBER + 1))
