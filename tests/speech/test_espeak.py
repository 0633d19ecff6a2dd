"""The speech model that does not need weights."""

from collections.abc import Iterable

import numpy as np
import pytest

from vibevoice_tts.engines.espeak import PRESETS, Espeak
from vibevoice_tts.models import ModelConfig
from vibevoice_tts.speech_model import (
    CannotClone,
    Chunk,
    End,
    SpeechRejected,
    SpeechRequest,
    Turn,
    UnknownVoice,
)
from vibevoice_tts.text import sentences

ESPEAK = ModelConfig("espeak")


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    """One instance for all tests, since the library has one state per process."""
    return Espeak.load(ESPEAK)


def speak(espeak: Espeak, *requests: SpeechRequest) -> list[tuple[np.ndarray, End]]:
    """Audio and end of each request; all are spoken together."""
    handles = [espeak.join(request) for request in requests]
    chunks: dict[int, list[np.ndarray]] = {handle: [] for handle in handles}
    ends: dict[int, End] = {}
    while len(ends) < len(handles):
        for event in espeak.step():
            match event:
                case Chunk(handle, samples):
                    chunks[handle].append(samples)
                case End(handle):
                    ends[handle] = event
    return [(np.concatenate(chunks[handle]), ends[handle]) for handle in handles]


def said(text: str, voice: str = "") -> SpeechRequest:
    return SpeechRequest((Turn(text, voice),))


def seconds(samples: Iterable[float]) -> float:
    return len(list(samples)) / Espeak.sample_rate


@pytest.mark.parametrize("voice", PRESETS)
def test_every_voice_is_audible(espeak: Espeak, voice: str) -> None:
    """Each voice has a natural duration, is loud enough, and differs from the others."""
    (spoken, end), (default, _) = speak(
        espeak, said("zero one two three four", voice), said("zero")
    )
    assert end.reason == "stop"
    assert spoken.dtype == np.float32
    assert 0.8 < seconds(spoken) < 6
    assert 0.1 < np.abs(spoken).max() <= 1.0
    assert not np.array_equal(spoken[: len(default)], default)


def test_requests_together_sound_as_alone(espeak: Espeak) -> None:
    """Interleaved sentences of other requests change neither length nor level. (eSpeak's flutter
    and noise continue from call to call, so the samples are never identical.)"""
    requests = [said("Hello there. How are you?", voice) for voice in PRESETS]
    alone = [speak(espeak, request)[0][0] for request in requests]
    together = [audio for audio, _ in speak(espeak, *requests)]
    assert [len(a) for a in together] == pytest.approx([len(a) for a in alone], rel=0.02)
    assert [a.std() for a in together] == pytest.approx([a.std() for a in alone], rel=0.1)


def test_step_is_one_sentence(espeak: Espeak) -> None:
    """The first audio is available before the rest of the text has been spoken."""
    text = "One. Two. Three."
    handle = espeak.join(said(text))
    chunks = [espeak.step() for _ in sentences(text)]
    assert [type(events[0]) for events in chunks] == [Chunk] * 3
    assert espeak.step() == [End(handle, "stop")]
    assert espeak.step() == []


def test_request_that_left_makes_nothing(espeak: Espeak) -> None:
    """After a request has left, there are no events; leaving again has no effect."""
    handle = espeak.join(said("One. Two. Three."))
    assert len(espeak.step()) == 1
    espeak.leave(handle)
    espeak.leave(handle)
    assert espeak.step() == []


def test_two_voices_in_one_request(espeak: Espeak) -> None:
    """Turns are spoken in order, each in its own voice."""
    turns = (Turn("One.", "espeak-en-us-man"), Turn("Two.", "espeak-fr-woman"))
    both, first, second = speak(
        espeak, SpeechRequest(turns), *(SpeechRequest((turn,)) for turn in turns)
    )
    assert len(both[0]) == pytest.approx(len(first[0]) + len(second[0]), rel=0.02)
    # The first "One." is the same; the rest differs from the first voice's.
    assert both[0][: len(first[0])].std() == pytest.approx(first[0].std(), rel=0.1)
    assert both[0][len(first[0]) :].std() == pytest.approx(second[0].std(), rel=0.1)


@pytest.mark.parametrize("name", [*ESPEAK.card.voice_aliases, "", "EN-US-GIRL", "fr"])
def test_names_find_voices(espeak: Espeak, name: str) -> None:
    """OpenAI's names, an empty name, and a unique part of a name in any case work."""
    assert espeak.find_voice(name) in espeak.voices()


def test_too_many_voices_are_refused(espeak: Espeak) -> None:
    """One voice more than the model's card allows is rejected."""
    voices = list(PRESETS)[: ESPEAK.card.max_speakers + 1]
    with pytest.raises(SpeechRejected, match="At most 4"):
        espeak.join(SpeechRequest(tuple(Turn("Hello.", voice) for voice in voices)))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "en", "%2e%2e", "\0"])
def test_other_names_are_refused_with_the_list(espeak: Espeak, name: str) -> None:
    """Unknown and ambiguous names are rejected; the message lists the voices."""
    with pytest.raises(UnknownVoice, match="espeak-en-us-woman"):
        espeak.join(said("Hello.", name))


def test_cloning_is_refused(espeak: Espeak) -> None:
    """The error says that it cannot clone voices."""
    samples = {"mine": np.zeros(24000, np.float32)}
    with pytest.raises(CannotClone, match="cannot clone"):
        espeak.join(SpeechRequest((Turn("Hello.", "mine"),), samples=samples))
