"""Words, speakers and times in a conversation of two real people with exact ground truth."""

import pytest
from bench.channels import CHANNELS
from bench.conversations import converse
from bench.hearing import Heard
from bench.scoring import diarization_errors, name_speakers, right_speakers, word_errors
from bench.voices import MIN_SECONDS
from tests.support.real_voices import librivox, prompts

from vibevoice_light import LightRecognizer

SECONDS = 90


@pytest.mark.parametrize("channel", ["clean", "G.711, 8 kHz"])
def test_two_people(recognizer: LightRecognizer, channel: str) -> None:
    """`bench.light_accuracy` measures this in more detail (docs/results/light.md)."""
    long = [one for one in prompts() if one.seconds >= MIN_SECONDS]
    built = converse({"prompts": long, "librivox": librivox()}, SECONDS)
    heard = [
        Heard(one.start, one.end, str(one.speaker), one.text)
        for one in recognizer.transcribe(CHANNELS[channel](built.samples))
    ]
    assert {one.speaker for one in heard} == {"0", "1"}
    errors = diarization_errors(built.spoken, heard)
    assert errors.spoken > 60
    assert errors.rate.part / errors.rate.whole <= 0.12
    right = right_speakers(built.spoken, heard, name_speakers(built.spoken, heard))
    assert right.whole > 100
    assert right.part / right.whole >= 0.93
    said, wrote = (" ".join(one.text for one in side) for side in (built.spoken, heard))
    wrong = word_errors(said, wrote)
    assert wrong.part / wrong.whole <= 0.15
