"""Builds the segments of a transcript from turns and their words."""

from dataclasses import dataclass

from vibevoice_light.audio import SAMPLE_RATE
from vibevoice_light.buffer import AudioBuffer
from vibevoice_light.moonshine import Moonshine, Token, Words
from vibevoice_light.turns import Turn
from vibevoice_light.voice_activity import FRAME

MIN_LOG_PROBABILITY = -0.8
"""Turns with a lower mean log probability get no text. Real speech scored -0.74 or higher, even
with noise and reverberation; most babble scores lower."""
MIN_SPEECH = 0.8
"""If the speech probability is at least this high, such a turn is marked unclear (it may be in
another language); otherwise it is dropped as noise."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A turn and its words."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds."""
    speaker: int
    """0, 1, … in the order of appearance; never changed later."""
    text: str
    tokens: tuple[Token, ...]
    """The tokens of the text with their probabilities."""
    is_cut: bool
    """Whether the model was stopped early because it repeated itself."""
    speech_probability: float
    """Mean speech probability during the turn, from voice activity detection."""
    is_unclear: bool = False
    """Whether the words are mostly guesses: the turn contains speech, but the model is very
    unsure."""

    @property
    def missing_reason(self) -> str | None:
        """Why the turn's transcript is incomplete: `unclear` (it has no transcript), or `loop` (the
        end of it is missing); None if it is complete."""
        if self.is_unclear:
            return "unclear"
        return "loop" if self.is_cut else None

    @property
    def mean_log_probability(self) -> float:
        """Mean log probability of its tokens; 0 is certain."""
        return sum(token.log_probability for token in self.tokens) / max(1, len(self.tokens))


def hear_turn(turn: Turn, words: Moonshine, audio: AudioBuffer) -> Words:
    """Decode one turn of the recording in `audio` with `words`."""
    first, last = (round(at * SAMPLE_RATE) for at in (turn.audio_start, turn.audio_end))
    return words.recognize(audio.read(first, last))


def recognize_turn(
    turn: Turn, words: Moonshine, audio: AudioBuffer, likely: AudioBuffer
) -> Segment | None:
    """Recognize one turn of the recording in `audio` with `words`; None for noise. `likely`: speech
    probabilities of its frames."""
    return judge_turn(turn, hear_turn(turn, words, audio), audio, likely)


def judge_turn(turn: Turn, heard: Words, audio: AudioBuffer, likely: AudioBuffer) -> Segment | None:
    """Build the segment of a turn from what was `heard` in it; None for noise."""
    if not heard.text:
        return None
    frames = (round(at * SAMPLE_RATE / FRAME) for at in (turn.start, turn.end))
    speech = float(likely.read(*frames).mean())
    is_unclear = heard.mean_log_probability < MIN_LOG_PROBABILITY
    if is_unclear and speech < MIN_SPEECH:
        return None
    end = min(turn.end, audio.end / SAMPLE_RATE)
    return Segment(
        *(round(turn.start, 3), round(end, 3), turn.speaker),
        *(heard.text, heard.tokens, heard.is_cut, round(speech, 4), is_unclear),
    )
