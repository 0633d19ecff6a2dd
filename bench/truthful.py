"""A recognizer that returns the reference transcript, with new speaker labels in each section."""

from collections.abc import AsyncGenerator, Sequence

import numpy as np
from tests.support.real_voices import Spoken

from vibevoice_core.speakers import label
from vibevoice_proxy.transcription.sections import Section
from vibevoice_proxy.transcription.transcript import Segment, Transcript

JITTER = 0.2
"""Maximum error of its times in seconds."""
MIN_SECONDS = 0.4
"""Utterances with fewer seconds than this in a section are omitted."""


class Truthful:
    """Replaces a recognizer to measure the steps after it."""

    max_section_seconds = np.inf

    def __init__(self, spoken: Sequence[Spoken]) -> None:
        """`spoken`: the reference of the whole recording."""
        self._spoken = spoken

    def check(self, languages: Sequence[str]) -> None:
        """Accept any language."""

    async def check_health(self) -> None:
        """Always healthy."""

    async def recognize(
        self, section: Section, info: str, language: str | None, request_id: str
    ) -> AsyncGenerator[Segment | Transcript]:
        """The utterances in `section`."""
        rng = np.random.default_rng(section.first)
        labels: dict[str, str] = {}
        end = section.start + section.duration
        last = 0.0
        for one in self._spoken:
            first, until = max(one.start, section.start), min(one.end, end)
            if until - first < MIN_SECONDS:
                continue
            begin, finish = (
                float(
                    np.clip(
                        at - section.start + rng.uniform(-JITTER, JITTER), last, section.duration
                    )
                )
                for at in (first, until)
            )
            last = finish
            name = labels.setdefault(one.speaker, label(len(labels)))
            yield Segment(begin, finish, name, one.text or "…")
        yield Transcript((), section.duration)
