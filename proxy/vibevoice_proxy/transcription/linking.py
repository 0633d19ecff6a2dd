"""One label for each person through a recording, found by their voices, for every recognizer.

Where the transcript is wanted as a whole, all sections are compared at its end. In a stream a label
that was sent never changes: the speakers of the first section keep their own, and those of later
ones are compared with everybody before as soon as enough of them is heard.
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
"""With this probability that a speaker is, or is not, somebody of before, it is decided at once."""
DECIDE_SECONDS = 10.0
"""Of a speaker's speech after which it is decided in any case."""
HOLD_SECONDS = 30.0
"""Of the recording for which a segment is held back at most."""

Key = tuple[int, str]
"""A section's number and its own label of a speaker."""


def numbered(segment: Segment) -> Segment:
    """`segment` of several sections, with the section in its label: A of one section (A1) may or
    may not be A of the next (A2)."""
    return replace(segment, speaker=segment.speaker and f"{segment.speaker}{segment.section}")


async def number_speakers(
    results: AsyncGenerator[Segment | Transcript],
) -> AsyncGenerator[Segment | Transcript]:
    """`results` of several sections whose voices are not compared."""
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
    """The transcript alone, with one label for each person."""
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
    """Each segment as soon as its label is known for good, and the transcript at the end."""
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
    """What is known of the speakers of a recording on its way."""

    def __init__(
        self,
        recording: Recording,
        finder: VoiceFinder,
        known: Sequence[KnownSpeaker],
        threshold: float,
    ) -> None:
        self.people: list[list[Key]] = [[] for _ in known]
        """The speakers who are each person; first those of each known one."""
        self.speakers: dict[Key, Speaker] = {}
        """Of the sections that are done."""
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
        """The segments whose labels are known now that `segment` has come."""
        passed: list[Segment] = []
        if self._section and segment.section != self._section[0].section:
            passed = await self.finish_section()
        self._section.append(segment)
        self._waiting.append(segment)
        if (key := _key(segment)) and key not in self._person:
            await self._consider(key)
        while (first := self._waiting[0]).start < segment.start - HOLD_SECONDS:
            if (late := _key(first)) and late not in self._person:
                await self._consider(late, is_last=True)
            passed += self._pass_on()
        return passed + self._pass_on()

    async def finish_section(self) -> list[Segment]:
        """The segments that are left of the section, which is whole."""
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
        """Decide who the speaker `key` is, if that is sure enough, or it `is_last`."""
        number, name = key
        if not any(self._voices):  # the first of all: there is nobody to compare them with
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
        """The voice of each person; None of those who are somebody in `section` already."""
        taken = {person for key, person in self._person.items() if key[0] == section}
        return [
            mix(voices) if voices and person not in taken else None
            for person, voices in enumerate(self._voices)
        ]

    def _decide(self, heard: Mapping[Key, Speaker]) -> None:
        """Find the people who these speakers of one section are, for good."""
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
    """The speakers of a section's `segments`, which are all there are, in order of appearance."""
    number = segments[0].section
    voices = await finder.finish(recording.sections[number - 1], segments)
    keys = dict.fromkeys(key for segment in segments if (key := _key(segment)))
    return {key: Speaker(number, voices.get(key[1])) for key in keys}


def _identify(
    speakers: Mapping[Key, Speaker], known: Sequence[KnownSpeaker], threshold: float
) -> list[list[Key]]:
    """The speakers who are each person, first those of each known one."""
    found = identify(list(speakers.values()), [one.voice for one in known], threshold)
    keys = list(speakers)
    return [[keys[index] for index in members] for members in found]


def _key(segment: Segment) -> Key | None:
    """Who speaks; None of a noise."""
    return None if segment.speaker is None else (segment.section, segment.speaker)


def _labels_beside(names: Iterable[str]) -> Iterator[str]:
    """A, B, C, … without those that are somebody's name."""
    taken = set(names)
    return (text for index in count() if (text := label(index)) not in taken)


def _labeled(
    transcript: Transcript,
    people: Sequence[Sequence[Key]],
    speakers: Mapping[Key, Speaker],
    known: Sequence[KnownSpeaker],
) -> Transcript:
    """`transcript` with a label for each of `people`, first the known ones, and with who they
    are."""
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
