"""Labels speakers consistently in a live conversation that is recognized turn by turn."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.speakers import UNKNOWN, label
from vibevoice_light import Window
from vibevoice_proxy.transcription.section_audio import Samples, downsampled
from vibevoice_proxy.transcription.transcript import Segment
from vibevoice_proxy.transcription.voice_finder import VoiceFinder
from vibevoice_proxy.transcription.voices import (
    CLEAR_SECONDS,
    MAX_PIECE_SECONDS,
    Span,
    Voice,
    clean_spans,
    mix,
    voices_of,
)

NEW_SECONDS = 2.5
"""Seconds of speech after which a voice unlike all others is a new person, as in
`vibevoice_light.speakers`."""
DOUBT = 0.15
"""Tolerance below the threshold for voices with less speech. Two voices with a lower similarity
belong to two people with a probability of 0.95 (`identities.SLOPE`)."""
LISTEN_SECONDS = 10.0
"""Maximum time that a turn waits for its voices."""


class LiveSpeakers:
    """The people in one conversation. Stores one mean voice per person, and no audio."""

    def __init__(self, finder: VoiceFinder, threshold: float) -> None:
        """`threshold`: minimum dot product of two voices of the same person."""
        self._finder = finder
        self._threshold = threshold
        self._people: list[Voice] = []

    async def label(self, samples: NDArray[np.int16], segments: Sequence[Segment]) -> list[str]:
        """Label each of `segments`, which are all segments of a turn. Their times are seconds from
        the start of the turn's `samples`, shape (samples,) at 24 kHz. UNKNOWN for noises, and for
        speakers with too little speech."""
        names: dict[tuple[int, str | None], str] = {}
        for section in sorted({segment.section for segment in segments}):
            voices = await self._listen(
                samples, [segment for segment in segments if segment.section == section]
            )
            chosen = assign(list(voices.values()), self._people, self._threshold)
            for (speaker, voice), (person, is_sure) in zip(voices.items(), chosen, strict=True):
                if person is None:
                    continue
                if person == len(self._people):
                    self._people.append(voice)
                elif is_sure:
                    self._people[person] = mix([self._people[person], voice])
                names[section, speaker] = label(person)
        return [names.get((segment.section, segment.speaker), UNKNOWN) for segment in segments]

    async def _listen(
        self, samples: NDArray[np.int16], segments: Sequence[Segment]
    ) -> dict[str, Voice]:
        """The speakers of a section whose voices could be computed, in order of appearance."""
        found: dict[str, Voice] = {}
        try:
            async with asyncio.timeout(LISTEN_SECONDS):
                for speaker, spans in clean_spans(segments).items():
                    own = [segment for segment in segments if segment.speaker == speaker]
                    longest = max(own, key=lambda segment: segment.end - segment.start)
                    end = min(longest.end, longest.start + MAX_PIECE_SECONDS)
                    windows = [
                        window
                        for span in sorted(spans) or [(longest.start, end)]
                        for window in await self._embed(samples, span)
                    ]
                    if windows:
                        found[speaker] = next(iter(voices_of(windows)), _rough(windows))
        except TimeoutError:
            self._finder.give_up()
        return found

    async def _embed(self, samples: NDArray[np.int16], span: Span) -> list[Window]:
        first, last = (max(0, round(at * SAMPLE_RATE)) for at in span)
        piece = await to_thread.run_sync(_prepare, samples[first:last])
        return await self._finder.embed(piece, span[0]) if len(piece) else []


class Choice(NamedTuple):
    """The person assigned to a voice."""

    person: int | None
    """The index of the person; None if uncertain."""
    is_sure: bool
    """Whether the voice may update the person's mean voice."""


def assign(voices: Sequence[Voice], people: Sequence[Voice], threshold: float) -> list[Choice]:
    """Assign each of `voices` to one of `people` or to a new person; all voices belong to different
    people. New people get the next indices, in the order of `voices`. Voices with more speech are
    assigned first.

    If the voice or the person has less than NEW_SECONDS of speech, a similarity of up to DOUBT
    below the threshold still matches. A voice with less than CLEAR_SECONDS never becomes a new
    person.
    """
    chosen: dict[int, Choice] = {}
    taken: set[int] = set()
    for index in sorted(range(len(voices)), key=lambda index: -voices[index].seconds):
        voice = voices[index]
        free = [person for person in range(len(people)) if person not in taken]
        likeness = {person: float(voice.vector @ people[person].vector) for person in free}
        best = max(free, key=lambda person: likeness[person], default=None)
        if best is not None:
            is_short = min(voice.seconds, people[best].seconds) < NEW_SECONDS
            if likeness[best] >= threshold - (DOUBT if is_short else 0):
                taken.add(best)
                is_sure = likeness[best] >= threshold and voice.seconds >= CLEAR_SECONDS
                chosen[index] = Choice(best, is_sure)
                continue
        if voice.seconds < CLEAR_SECONDS:
            chosen[index] = Choice(None, False)
    new = (index for index in range(len(voices)) if index not in chosen)
    chosen |= {index: Choice(person, True) for person, index in enumerate(new, len(people))}
    return [chosen[index] for index in range(len(voices))]


def _rough(windows: Sequence[Window]) -> Voice:
    """Combine windows that are all too short for a clear voice."""
    return mix([Voice(window.vector, window.end - window.start) for window in windows])


def _prepare(samples: NDArray[np.int16]) -> Samples:
    return downsampled(samples.astype(np.float32) / np.float32(32768))
