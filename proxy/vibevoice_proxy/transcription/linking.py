"""Labels the speakers of all sections: each person gets one label for the whole recording.

For a whole transcript, all sections are compared at the end. In a stream, a label that was sent
never changes: speakers of the first section keep their labels, and speakers of later sections are
compared with earlier ones as soon as there is enough speech.
"""

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import count

from anyio import to_thread

from vibevoice_core.speakers import label
from vibevoice_proxy.transcription.identities import Speaker, identify, judge, probability
from vibevoice_proxy.transcription.sections import Recording
from vibevoice_proxy.transcription.transcript import Person, Segment, Transcript
from vibevoice_proxy.transcription.voice_finder import VoiceFinder
from vibevoice_proxy.transcription.voices import KnownSpeaker, Voice, mix

SURE = 0.95
"""Decide immediately if a speaker matches an earlier one, or none, with at least this
probability."""
DECIDE_SECONDS = 10.0
"""Decide after this much speech of a speaker, whatever the probability."""
HOLD_SECONDS = 30.0
"""Hold a segment back for at most this many seconds of the recording."""

Key = tuple[int, str]
"""A section's number and the recognizer's label of a speaker in it."""


def numbered(segment: Segment) -> Segment:
    """`segment` with the section's number in its label: A1 and A2 may or may not be the same
    person."""
    return replace(segment, speaker=segment.speaker and f"{segment.speaker}{segment.section}")


async def number_speakers(
    results: AsyncGenerator[Segment | Transcript],
) -> AsyncGenerator[Segment | Transcript]:
    """Number the labels in `results` of several sections, without comparing voices."""
    async with aclosing(results):
        async for result in results:
            if isinstance(result, Segment):
                yield numbered(result)
            else:
                yield replace(result, segments=tuple(map(numbered, result.segments)))


async def link_whole(
    results: AsyncGenerator[Segment | Transcript],
    recording: Recording,
    finder: VoiceFinder,
    known: Sequence[KnownSpeaker],
    threshold: float,
) -> AsyncGenerator[Segment | Transcript]:
    """Yield only the transcript, with one label per person."""
    speakers: dict[Key, Speaker] = {}
    held: list[Segment] = []
    async with aclosing(results):
        async for result in results:
            if held and (isinstance(result, Transcript) or result.section != held[0].section):
                speakers |= await _hear(finder, recording, held)
                held = []
            if isinstance(result, Segment):
                held.append(result)
                continue
            people = await to_thread.run_sync(_identify, speakers, known, threshold)
            yield await to_thread.run_sync(_labeled, result, people, speakers, known)


async def link_stream(
    results: AsyncGenerator[Segment | Transcript],
    recording: Recording,
    finder: VoiceFinder,
    known: Sequence[KnownSpeaker],
    threshold: float,
) -> AsyncGenerator[Segment | Transcript]:
    """Yield each segment as soon as its label is final, and the transcript at the end."""
    stream = _Stream(recording, finder, known, threshold)
    async with aclosing(results):
        async for result in results:
            if isinstance(result, Segment):
                for segment in await stream.feed(result):
                    yield segment
                continue
            for segment in await stream.finish_section():
                yield segment
            yield await to_thread.run_sync(_labeled, result, stream.people, stream.speakers, known)


class _Stream:
    """The speakers of a recording while it is being streamed."""

    def __init__(
        self,
        recording: Recording,
        finder: VoiceFinder,
        known: Sequence[KnownSpeaker],
        threshold: float,
    ) -> None:
        self.people: list[list[Key]] = [[] for _ in known]
        """The speakers of each person, known people first."""
        self.speakers: dict[Key, Speaker] = {}
        """Speakers of the finished sections."""
        self._labels = [one.name for one in known]
        self._new_labels = _labels_beside(self._labels)
        self._voices = [[one.voice] for one in known]
        self._recording = recording
        self._finder = finder
        self._threshold = threshold
        self._section: list[Segment] = []
        self._waiting: deque[Segment] = deque()
        self._person: dict[Key, int] = {}

    async def feed(self, segment: Segment) -> list[Segment]:
        """Add `segment`; return the segments whose labels are final now."""
        passed: list[Segment] = []
        if self._section and segment.section != self._section[0].section:
            passed = await self.finish_section()
        self._section.append(segment)
        self._waiting.append(segment)
        if (key := _key(segment)) and key not in self._person:
            await self._consider(key)
        while self._waiting and self._waiting[0].start < segment.start - HOLD_SECONDS:
            late = _key(self._waiting[0])
            if late and late not in self._person:
                await self._consider(late, is_last=True)
            passed += self._pass_on()
        return passed + self._pass_on()

    async def finish_section(self) -> list[Segment]:
        """End the section; return the segments that were held back."""
        if not self._section:
            return []
        heard = await _hear(self._finder, self._recording, self._section)
        self._decide({key: one for key, one in heard.items() if key not in self._person})
        for key, speaker in heard.items():
            if speaker.voice:
                self._voices[self._person[key]].append(speaker.voice)
        self.speakers |= heard
        passed = self._pass_on()
        self._section = []
        return passed

    async def _consider(self, key: Key, *, is_last: bool = False) -> None:
        """Decide who the speaker `key` is, if the match is certain enough or `is_last`."""
        number, name = key
        if not any(self._voices):  # no voices to compare with yet
            self._decide({key: Speaker(number, None)})
            return
        section = self._recording.sections[number - 1]
        voice = await self._finder.listen(section, self._section, name)
        if voice and not is_last and voice.seconds < DECIDE_SECONDS:
            others = [other for other in self._free(number) if other]
            nearest = max((float(voice.vector @ other.vector) for other in others), default=-1.0)
            is_last = not 1 - SURE < probability(nearest) < SURE
        if is_last or (voice and voice.seconds >= DECIDE_SECONDS):
            self._decide({key: Speaker(number, voice)})

    def _free(self, section: int) -> list[Voice | None]:
        """The voice of each person; None for people who already have a speaker in `section`."""
        taken = {person for key, person in self._person.items() if key[0] == section}
        return [
            mix(voices) if voices and person not in taken else None
            for person, voices in enumerate(self._voices)
        ]

    def _decide(self, heard: Mapping[Key, Speaker]) -> None:
        """Assign these speakers of one section to people. This is final."""
        keys = list(heard)
        if not keys:
            return
        found = identify(list(heard.values()), self._free(keys[0][0]), self._threshold)
        for person, members in enumerate(found):
            if person == len(self.people):
                self.people.append([])
                self._voices.append([])
                self._labels.append(next(self._new_labels))
            for index in members:
                self.people[person].append(keys[index])
                self._person[keys[index]] = person

    def _pass_on(self) -> list[Segment]:
        passed: list[Segment] = []
        while self._waiting:
            key = _key(self._waiting[0])
            if key and key not in self._person:
                break
            segment = self._waiting.popleft()
            passed.append(
                replace(segment, speaker=self._labels[self._person[key]]) if key else segment
            )
        return passed


async def _hear(
    finder: VoiceFinder, recording: Recording, segments: Sequence[Segment]
) -> dict[Key, Speaker]:
    """The speakers of a finished section, in order of appearance, with their voices."""
    number = segments[0].section
    voices = await finder.finish(recording.sections[number - 1], segments)
    keys = dict.fromkeys(key for segment in segments if (key := _key(segment)))
    return {key: Speaker(number, voices.get(key[1])) for key in keys}


def _identify(
    speakers: Mapping[Key, Speaker], known: Sequence[KnownSpeaker], threshold: float
) -> list[list[Key]]:
    """The speakers of each person, known people first."""
    found = identify(list(speakers.values()), [one.voice for one in known], threshold)
    keys = list(speakers)
    return [[keys[index] for index in members] for members in found]


def _key(segment: Segment) -> Key | None:
    """The speaker of a segment; None for noise."""
    return None if segment.speaker is None else (segment.section, segment.speaker)


def _labels_beside(names: Iterable[str]) -> Iterator[str]:
    """A, B, C, … except for labels that are names."""
    taken = set(names)
    return (text for index in count() if (text := label(index)) not in taken)


def _labeled(
    transcript: Transcript,
    people: Sequence[Sequence[Key]],
    speakers: Mapping[Key, Speaker],
    known: Sequence[KnownSpeaker],
) -> Transcript:
    """`transcript` with final labels and the list of people; `people` starts with the known
    ones."""
    new_labels = _labels_beside(one.name for one in known)
    labels = [one.name for one in known]
    labels += [next(new_labels) for _ in people[len(known) :]]
    person = {key: index for index, members in enumerate(people) for key in members}
    keys = list(speakers)
    found = [[keys.index(key) for key in members] for members in people]
    judgments = judge(found, list(speakers.values()), [one.voice for one in known])
    seconds = [0.0] * len(people)
    segments: list[Segment] = []
    for segment in transcript.segments:
        if key := _key(segment):
            seconds[person[key]] += segment.end - segment.start
            segment = replace(segment, speaker=labels[person[key]])
        segments.append(segment)
    order = dict.fromkeys(person[key] for part in transcript.segments if (key := _key(part)))
    listed = [
        Person(
            labels[index],
            index < len(known),
            judgments[index].confidence,
            round(seconds[index], 3),
            None if (other := judgments[index].similar) is None else labels[other],
        )
        for index in order
    ]
    return replace(transcript, segments=tuple(segments), people=tuple(listed))
