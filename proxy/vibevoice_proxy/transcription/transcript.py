"""Segments, and what is known of a recording once it is transcribed."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_NON_SPEECH = re.compile(r"\[[^\[\]]+\]")


class Token(NamedTuple):
    """A part of a text and how sure the model is of it."""

    text: str
    """With the space before it."""
    logprob: float


@dataclass(frozen=True, slots=True)
class Segment:
    """One timed, speaker-labeled span of a recording."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds; never before `start`."""
    speaker: str | None
    """"A", "B", … in order of appearance; None for noises and where the model names nobody."""
    text: str
    avg_logprob: float | None = None
    """How sure the model is of the words, 0 at best; None where it does not tell."""
    no_speech_prob: float | None = None
    """How likely it is that nobody speaks; None where that is not known."""
    tokens: tuple[Token, ...] = ()
    """What the text is made of, where the model tells."""
    section: int = 1
    """Number of the section that it is in; as a recognizer names them, equal speakers of two
    sections are not known to be one person."""

    @property
    def is_speech(self) -> bool:
        """False for a bracketed event such as `[Music]`: it is no part of what was said."""
        return _NON_SPEECH.fullmatch(self.text) is None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one transcription, as the engine counted them."""

    input_tokens: int
    output_tokens: int
    audio_tokens: int


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who speaks in a recording, found by their voice."""

    label: str
    """Their name where they are known, else "A", "B", …."""
    is_known: bool
    """Whether the label is the name of a known speaker."""
    confidence: float | None
    """How likely it is that all segments with this label are one person's and no other label's are;
    None where too little is heard to tell."""
    seconds: float
    """Of their segments."""
    similar: str | None = None
    """Label of the other person who this may be as well, where that is not unlikely."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of a recording that has no transcript, or none that can be relied on."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds."""
    reason: str
    """`loop`: the model repeated itself and could not be brought out of it; `length`: it ran out of
    tokens; `format`: its answer is plain text, without speakers and times; `unclear`: somebody
    speaks, but the light recognizer hardly knows what; else the code of the error that ended the
    section."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything known about a recording once it is transcribed."""

    segments: tuple[Segment, ...]
    duration: float
    """Seconds of the decoded recording."""
    usage: Usage | None = None
    """None when the engine was not asked (silence) or did not count."""
    language: str | None = None
    """What the client named, or what another server or the translation tells; the model does not
    tell."""
    missing: tuple[Missing, ...] = ()
    """The parts that the segments do not cover, in order; empty when the transcript is complete."""
    people: tuple[Person, ...] = ()
    """Who speaks, in the order of appearance; empty where voices were not compared."""
    is_translation: bool = False
    """Whether the segments are in English, whatever was spoken."""

    @property
    def text(self) -> str:
        """What was said, as running text."""
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
    """Chinese and Japanese have no spaces between words; Korean, wide as well, does."""
    return all(
        unicodedata.east_asian_width(char) in "WF" and not "\uac00" <= char <= "\ud7a3"
        for char in (left, right)
    )
