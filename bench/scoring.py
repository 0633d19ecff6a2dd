"""Scores a transcript with speakers and times against a reference.

Times are compared in steps of 10 ms, as in the diarization error rate of NIST's md-eval and its
successors: missed time, time heard where nobody speaks, and time of the wrong speaker, divided by
the time spoken. Speakers in a transcript have no names, so they are matched to the reference in the
way that fits best.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

import jiwer
import numpy as np
from numpy.typing import NDArray
from tests.support.wording import words

STEP = 0.01
"""Seconds."""
BRIDGED_PAUSE = 0.3
"""Maximum pause in seconds that does not split a speaker's turn, as in NIST's rich transcription.
Applied to both reference and transcript, so it does not matter which of them has a pause."""
COLLAR = 0.25
"""Seconds before and after each border of the reference that are ignored if a collar is used."""
NEAR = 0.3
"""Tolerance of a border in seconds."""


class Span(Protocol):
    """Words of one person, in the reference or in a transcript."""

    @property
    def start(self) -> float:
        """Seconds."""
        ...

    @property
    def end(self) -> float:
        """Seconds."""
        ...

    @property
    def speaker(self) -> str:
        """Its label."""
        ...

    @property
    def text(self) -> str:
        """Its words."""
        ...


class Rate(NamedTuple):
    """A number of cases and their total."""

    part: float
    whole: float

    def __str__(self) -> str:
        return f"{self.part / self.whole:.1%}" if self.whole else "–"

    def __add__(self, other: object) -> "Rate":
        """The sum of both."""
        if not isinstance(other, Rate):
            return NotImplemented
        return Rate(self.part + other.part, self.whole + other.whole)


@dataclass(frozen=True, slots=True)
class DiarizationErrors:
    """Seconds."""

    missed: float
    false_alarm: float
    confused: float
    spoken: float

    @property
    def rate(self) -> Rate:
        """The diarization error rate."""
        return Rate(self.missed + self.false_alarm + self.confused, self.spoken)


def word_errors(said: str, heard: str) -> Rate:
    """Words substituted, inserted, or deleted, per word in the reference."""
    reference = words(said)
    if not reference:
        return Rate(len(words(heard)), 0)
    output = jiwer.process_words(" ".join(reference), " ".join(words(heard)))
    wrong = output.substitutions + output.deletions + output.insertions
    return Rate(wrong, len(reference))


def diarization_errors(
    truth: Sequence[Span], heard: Sequence[Span], collar: float = 0.0
) -> DiarizationErrors:
    """The errors of `heard`, ignoring `collar` seconds around each border of the reference."""
    turns = bridged(truth, BRIDGED_PAUSE)
    steps = _steps(max((span.end for span in [*turns, *heard]), default=0.0)) + 1
    said, found = (_activity(spans, steps) for spans in (turns, bridged(heard, BRIDGED_PAUSE)))
    scored = np.ones(steps, bool)
    if collar:
        for border in (border for turn in turns for border in (turn.start, turn.end)):
            scored[max(0, _steps(border - collar)) : _steps(border + collar)] = False
    named = name_speakers(truth, heard)
    right = np.zeros(steps, int)
    for label, name in named.items():
        right += said[name] & found[label]
    speaking, listed = (sum(spans.values(), np.zeros(steps, int)) for spans in (said, found))
    counts = (
        np.maximum(speaking - listed, 0),
        np.maximum(listed - speaking, 0),
        np.minimum(speaking, listed) - right,
        speaking,
    )
    return DiarizationErrors(*(float(count[scored].sum()) * STEP for count in counts))


def name_speakers(truth: Sequence[Span], heard: Sequence[Span]) -> dict[str, str]:
    """Label heard → speaker in the reference, one to one, maximizing the time in common."""
    steps = _steps(max((span.end for span in [*truth, *heard]), default=0.0)) + 1
    said, found = (_activity(bridged(one, BRIDGED_PAUSE), steps) for one in (truth, heard))
    names, labels = list(said), list(found)
    common = np.array([[int((said[n] & found[m]).sum()) for n in names] for m in labels])
    return {labels[row]: names[column] for row, column in _assign(common)}


def right_speakers(truth: Sequence[Span], heard: Sequence[Span], named: Mapping[str, str]) -> Rate:
    """Words with the correct speaker, per heard word that matches a word of the reference; `named`
    as returned by `name_speakers`."""
    said = [(word, span.speaker) for span in truth for word in words(span.text)]
    found = [(word, named.get(span.speaker)) for span in heard for word in words(span.text)]
    if not said or not found:
        return Rate(0, 0)
    reference, hypothesis = (" ".join(word for word, _ in side) for side in (said, found))
    output = jiwer.process_words(reference, hypothesis)
    pairs = [
        (said[chunk.ref_start_idx + at][1], found[chunk.hyp_start_idx + at][1])
        for chunk in output.alignments[0]
        if chunk.type in ("equal", "substitute")
        for at in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    return Rate(sum(speaker == name for speaker, name in pairs), len(pairs))


def near_borders(truth: Sequence[Span], heard: Sequence[Span]) -> Rate:
    """Starts and ends of the speakers' turns, whatever pauses they contain, with a start or end of
    the same speaker's segments within NEAR seconds."""
    named = name_speakers(truth, heard)
    turns = bridged(truth, np.inf)
    near = 0
    for turn in turns:
        own = [span for span in heard if named.get(span.speaker) == turn.speaker]
        near += any(abs(span.start - turn.start) <= NEAR for span in own)
        near += any(abs(span.end - turn.end) <= NEAR for span in own)
    return Rate(near, 2 * len(turns))


@dataclass(frozen=True, slots=True)
class Turn:
    """A speaker's words, including pauses."""

    start: float
    end: float
    speaker: str
    text: str


def bridged(spans: Sequence[Span], pause: float) -> list[Turn]:
    """`spans` in order, with spans of one speaker joined if they are at most `pause` seconds apart
    and nobody else speaks in between."""
    turns: list[Turn] = []
    for speaker, own in groupby(sorted(spans, key=lambda span: span.start), lambda s: s.speaker):
        first = True
        for span in own:
            if not first and span.start - turns[-1].end <= pause:
                last = turns.pop()
                text, end = f"{last.text} {span.text}".strip(), max(last.end, span.end)
                turns.append(Turn(last.start, end, speaker, text))
            else:
                turns.append(Turn(span.start, span.end, speaker, span.text))
            first = False
    return turns


def _steps(seconds: float) -> int:
    return round(seconds / STEP)


def _activity(spans: Sequence[Span], steps: int) -> dict[str, NDArray[np.bool_]]:
    """Who speaks when: an array of shape (steps,) per speaker."""
    found: dict[str, NDArray[np.bool_]] = {}
    for span in spans:
        active = found.setdefault(span.speaker, np.zeros(steps, bool))
        active[_steps(span.start) : _steps(span.end)] = True
    return found


def _assign(common: NDArray[np.int_]) -> list[tuple[int, int]]:
    """The (row, column) pairs with the largest sum, at most one per row and column. Tries every set
    of columns, of which there are few; rows are the many labels of a bad transcript."""
    best: dict[frozenset[int], tuple[int, list[tuple[int, int]]]] = {frozenset(): (0, [])}
    for row, values in enumerate(common):
        for used, (total, pairs) in list(best.items()):
            for column, value in enumerate(values):
                key, sum_ = used | {column}, total + int(value)
                if column not in used and value and sum_ > best.get(key, (0, []))[0]:
                    best[key] = (sum_, [*pairs, (row, column)])
    return max(best.values(), key=lambda found: found[0])[1]
