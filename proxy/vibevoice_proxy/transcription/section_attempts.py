"""Recognizes one of several sections, with a second attempt if the first one fails."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import count

import anyio

from vibevoice_core.speakers import label
from vibevoice_proxy.errors import InvalidAudio, ProxyError, UpstreamError
from vibevoice_proxy.transcription.transcript import (
    MIN_REST_SECONDS,
    Missing,
    Segment,
    Transcript,
    missing_rest,
)

ATTEMPTS = 2
"""Attempts per section if there are several sections."""
RETRY_SECONDS = 1.0
"""Delay before a retry."""
TOLERANCE_SECONDS = MIN_REST_SECONDS
"""Two attempts may place the same pause this far apart."""

logger = logging.getLogger(__name__)

Results = AsyncGenerator[Segment | Transcript]


async def recognize_or_miss(
    recognize: Callable[[str], Results],
    duration: float,
    request_id: str,
    failures: list[ProxyError],
    *,
    is_streamed: bool,
) -> Results:
    """Yield the results of `recognize`, which gets the id of an attempt, with a retry after an
    UpstreamError. A final failure is added to `failures`, and the rest of the section's `duration`
    in seconds, if there is any, is reported as missing.

    Unless `is_streamed`, no segment is yielded before the end, so that all are from one attempt:
    the one that succeeded, or else the one that got further.
    """
    kept: list[Segment] = []
    reason = ""
    for attempt in range(1, ATTEMPTS + 1):
        attempt_id = request_id if attempt == 1 else f"{request_id}-a{attempt}"
        continuation = Continuation(kept if is_streamed else (), reason)
        found: list[Segment] = []
        try:
            async with aclosing(recognize(attempt_id)) as results:
                async for result in results:
                    if isinstance(result, Segment):
                        if new := continuation.add(result):
                            found.append(new)
                            if is_streamed:
                                yield new
                        continue
                    for segment in () if is_streamed else found:
                        yield segment
                    yield replace(result, missing=continuation.lacking(result.missing))
            return
        except (InvalidAudio, UpstreamError) as error:
            reason = error.code or "upstream_error"
            kept = [*kept, *found] if is_streamed else max(kept, found, key=_end)
            if attempt < ATTEMPTS and isinstance(error, UpstreamError):
                logger.warning("%s failed and is retried: %s", attempt_id, error)
                await anyio.sleep(RETRY_SECONDS)
                continue
            logger.error("%s failed: %s", attempt_id, error)
            failures.append(error)
            for segment in () if is_streamed else kept:
                yield segment
            start = max([_end(kept), *(part.end for part in continuation.missing)])
            rest = missing_rest(start, duration, reason)
            yield Transcript((), duration, missing=(*continuation.missing, *rest))
            return


class Continuation:
    """What another attempt adds to segments that have already been sent."""

    def __init__(self, sent: Sequence[Segment], reason: str) -> None:
        """`reason`: why the attempt that wrote `sent` failed."""
        self._sent = sent
        self._reached = self._gap_end = _end(sent)
        self._reason = reason
        self._repeated: list[Segment] = []
        self._labels: dict[str, str] = {}

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The part between the sent and the new segments, if the attempts have no common boundary:
        its words cannot be told from those that were sent."""
        if self._gap_end <= self._reached + TOLERANCE_SECONDS:
            return ()
        return (Missing(round(self._reached, 3), round(self._gap_end, 3), self._reason),)

    def lacking(self, parts: Iterable[Missing]) -> tuple[Missing, ...]:
        """What is missing in all: `missing`, and what this attempt misses after it. Its earlier
        `parts` were sent by the other attempt."""
        start = round(self._gap_end, 3)
        later: list[Missing] = []
        for part in parts:
            if part.start >= start:
                later.append(part)
            else:
                later += missing_rest(start, part.end, part.reason)
        return (*self.missing, *later)

    def add(self, segment: Segment) -> Segment | None:
        """`segment` with the label that its speaker has in the sent segments; None if it begins
        before their end."""
        if not self._sent:
            return segment
        if segment.start >= self._reached - TOLERANCE_SECONDS:
            return replace(segment, speaker=segment.speaker and self._label(segment.speaker))
        self._repeated.append(segment)
        self._gap_end = max(self._gap_end, segment.end)
        return None

    def _label(self, speaker: str) -> str:
        """The sent label that shares most time with this attempt's `speaker`, otherwise an unused
        one."""
        if speaker not in self._labels:
            sent = {old.speaker for old in self._sent if old.speaker}
            taken = set(self._labels.values())
            shared = {name: self._shared_seconds(name, speaker) for name in sent - taken}
            best = max(shared, key=shared.__getitem__, default=None)
            if best is None or not shared[best]:
                best = next(name for name in map(label, count()) if name not in sent | taken)
            self._labels[speaker] = best
        return self._labels[speaker]

    def _shared_seconds(self, sent: str, repeated: str) -> float:
        """Seconds in which both attempts heard the speaker that they label `sent` and
        `repeated`."""
        return sum(
            max(0.0, min(old.end, new.end) - max(old.start, new.start))
            for old in self._sent
            for new in self._repeated
            if (old.speaker, new.speaker) == (sent, repeated)
        )


def _end(segments: Sequence[Segment]) -> float:
    """Seconds at which `segments` end."""
    return max((segment.end for segment in segments), default=0.0)
