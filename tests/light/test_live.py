"""Live conversations, step by step."""

import numpy as np
import pytest
from tests.support.real_voices import RATE, conversation, librivox
from tests.support.wording import errors, words

from vibevoice_light import Detection, LightRecognizer
from vibevoice_light.live_events import Ended, LiveEvent, Said
from vibevoice_light.moonshine import Moonshine, Words


@pytest.mark.parametrize("goes_on", [False, True])
def test_the_last_decode_takes_place_in_the_silence(
    recognizer: LightRecognizer, monkeypatch: pytest.MonkeyPatch, goes_on: bool
) -> None:
    """The last decode runs during the silence, so none is needed at its end unless somebody speaks
    again."""
    decoded: list[float] = []
    recognize = Moonshine.recognize

    def count(self: Moonshine, samples: np.ndarray) -> Words:
        decoded.append(len(samples) / RATE)
        return recognize(self, samples)

    monkeypatch.setattr(Moonshine, "recognize", count)
    sentence = librivox()[0]
    samples, [spoken, *_] = conversation([("a", sentence), ("a", librivox()[1])], 0.4)
    pause = round((spoken.end + 0.38) * RATE)
    listener = recognizer.listen_live(Detection(silence_seconds=0.6), 0, 0.5)
    list(listener.feed(samples[:pause]))
    assert listener.wants_preview
    list(listener.preview())
    assert not listener.wants_preview  # once is enough
    [before] = decoded
    rest = samples[pause:] if goes_on else samples[:0]
    silence = np.zeros(RATE, np.float32)
    events: list[LiveEvent] = list(listener.feed(np.concatenate([rest, silence])))
    assert isinstance(events[-1], Ended)
    heard = " ".join(event.segment.text for event in events if isinstance(event, Said))
    if goes_on:
        assert len(decoded) > 1
        assert errors(words(f"{sentence.text} {librivox()[1].text}"), words(heard)) <= 5
    else:
        assert decoded == [before]
        assert errors(words(sentence.text), words(heard)) <= 3
