"""Data types for segments and transcripts."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

INCOMPLETE_FILE = "incomplete_file"
"""Why a part is missing: the uploaded file is shorter than its header declares."""
MIN_REST_SECONDS = 0.25
"""Shorter than most words."""
_NON_SPEECH = re.compile(r"\[[^\[\]]+\]")


class Token(NamedTuple):
    """A part of a text, with the model's confidence in it."""

    text: str
    """Includes the space before it."""
    logprob: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One timed, speaker-labeled span of a recording."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds; never less than `start`."""
    speaker: str | None
    """"A", "B", … in order of appearance; None for noise, and if the model returns no speaker."""
    text: str
    avg_logprob: float | None = None
    """Average log probability of the words, at most 0; None if the model does not provide it."""
    no_speech_prob: float | None = None
    """Probability that the segment contains no speech; None if unknown."""
    tokens: tuple[Token, ...] = ()
    """The tokens of the text; empty if the model does not provide them."""
    section: int = 1
    """Number of the segment's section. Before linking, the same label in two sections need not be
    the same person."""

    @property
    def is_speech(self) -> bool:
        """False for a bracketed event such as `[Music]`, which is not part of the spoken text."""
        return _NON_SPEECH.fullmatch(self.text) is None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one transcription, as reported by the engine."""

    input_tokens: int
    output_tokens: int
    audio_tokens: int


@dataclass(frozen=True, slots=True)
class Person:
    """A speaker of a recording, identified by voice."""

    label: str
    """The person's name if known, otherwise "A", "B", …."""
    is_known: bool
    """Whether the label is the name of a known speaker."""
    confidence: float | None
    """Probability that all segments with this label, and no other label's segments, belong to one
    person; None if there is too little speech."""
    seconds: float
    """Total length of the person's segments, in seconds."""
    similar: str | None = None
    """Label of another person who could be the same, if that is not unlikely."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of a recording without a transcript, or without a reliable one."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds."""
    reason: str
    """`loop`: the model repeated itself and could not recover; `length`: it ran out of tokens;
    `format`: its output is plain text, without speakers and times; `unclear`: the light recognizer
    heard speech but could not understand it; INCOMPLETE_FILE; otherwise the code of the error that
    ended the section."""


def missing_rest(start: float, end: float, reason: str) -> tuple[Missing, ...]:
    """The untranscribed rest of a section, from `start` seconds on; empty if it is too short for a
    word."""
    if start and end - start < MIN_REST_SECONDS:
        return ()
    return (Missing(round(start, 3), round(end, 3), reason),)


@dataclass(frozen=True, slots=True)
class Transcript:
    """The result of transcribing a recording."""

    segments: tuple[Segment, ...]
    duration: float
    """Length of the decoded recording, in seconds."""
    usage: Usage | None = None
    """None if the engine was not called (silence) or did not report usage."""
    language: str | None = None
    """The only language that the client expects, or the one that another server or the translation
    reported; the model does not report one."""
    missing: tuple[Missing, ...] = ()
    """The parts that the segments do not cover, in order; empty if the transcript is complete."""
    people: tuple[Person, ...] = ()
    """The speakers in order of appearance; empty if voices were not compared."""
    is_translation: bool = False
    """Whether the segments were translated into English."""

    @property
    def text(self) -> str:
        """The spoken words as running text."""
        return join_speech(self.segments)

    @property
    def truncated(self) -> str | None:
        """Why the transcript is incomplete: each reason once, joined by commas; None if it is
        complete."""
        return ",".join(dict.fromkeys(part.reason for part in self.missing)) or None


def join_speech(segments: Sequence[Segment]) -> str:
    """The spoken segments as running text."""
    text = ""
    for segment in segments:
        text += speech_delta(text, segment)
    return text


def speech_delta(before: str, segment: Segment) -> str:
    """What `segment` adds to the running text `before`: a separator and its words, or nothing."""
    if not segment.is_speech:
        return ""
    separator = "" if not before or _unspaced(before[-1], segment.text[0]) else " "
    return separator + segment.text


def _unspaced(left: str, right: str) -> bool:
    """Chinese and Japanese have no spaces between words. Korean does, although its characters are
    also wide."""
    return all(
        unicodedata.east_asian_width(char) in "WF" and not "\uac00" <= char <= "\ud7a3"
        for char in (left, right)
    )
