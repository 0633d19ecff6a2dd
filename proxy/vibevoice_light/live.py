"""Transcribes a conversation live: accepts samples and returns words while people speak."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vibevoice_light.agreement import Agreement
from vibevoice_light.audio import SAMPLE_RATE
from vibevoice_light.buffer import AudioBuffer
from vibevoice_light.diarizer import Diarizer
from vibevoice_light.islands import Island
from vibevoice_light.live_events import Ended, LiveEvent, NewWords, Said, Started, Stopped
from vibevoice_light.moonshine import Moonshine, Words
from vibevoice_light.segments import MIN_LOG_PROBABILITY, Segment, hear_turn, judge_turn
from vibevoice_light.turns import MARGIN_SECONDS, Turn, Turns
from vibevoice_light.utterances import Detection, Span, Utterances
from vibevoice_light.voice_activity import FRAME, VoiceActivity

MAX_PREVIEW_SECONDS = 25.0
"""Longest open turn that is decoded before it ends; the model was trained on audio up to 30 s."""
MARGIN = round(1.0 * SAMPLE_RATE)
"""Samples kept before the earliest needed sample."""


class LiveListener:
    """One conversation. Speakers are assigned at each pause, and their labels never change.

    With a `Detection`, voice activity determines where utterances start and end. Without one,
    `commit` ends an utterance, and its events are held back until then.
    """

    def __init__(
        self,
        voice_activity: VoiceActivity,
        diarizer: Diarizer,
        words: Moonshine,
        utterances: Utterances,
        *,
        first_speaker: int,
        interval: float,
    ) -> None:
        """`first_speaker`: the number assigned to the first speaker. `interval`: seconds of new
        speech after which the open turn is decoded again."""
        self._audio = AudioBuffer()
        self._likely = AudioBuffer()
        self._voice_activity = voice_activity
        self._diarizer = diarizer
        self._words = words
        self._utterances = utterances
        self._turns = Turns()
        self._agreement = Agreement()
        self._first_speaker = first_speaker
        self._interval = interval
        self._is_detecting = utterances.start is None
        self._number = 0
        """Number of the open utterance, or of the last one."""
        self._held: list[LiveEvent] = []
        self._preview_end = 0.0
        """End of the audio in the last preview, in seconds."""
        self._ahead: tuple[Turn, Words] | None = None
        """The open turn as it would end now, and its decoded words."""

    @property
    def wants_preview(self) -> bool:
        """Whether there is enough new speech for `preview`."""
        if not self._is_detecting or self._utterances.start is None:
            return False
        if self._utterances.speech_start is None:
            return self._may_end
        return self._utterances.seconds - self._preview_end >= self._interval

    @property
    def _may_end(self) -> bool:
        """Whether the open turn may have ended and is not decoded yet. This allows its final decode
        to run during the silence instead of after it."""
        turn = self._turns.ending
        if turn is None or self._utterances.silence_seconds < 2 * MARGIN_SECONDS:
            return False
        is_known = self._ahead is not None and self._ahead[0] == turn
        return not is_known and self._utterances.seconds >= turn.audio_end

    def update(self, detection: Detection | None, interval: float) -> Iterator[LiveEvent]:
        """Change the parameters. Switching from detection to `commit` ends the open utterance;
        switching from `commit` to detection discards uncommitted audio."""
        if self._is_detecting and detection is None and self._utterances.start is not None:
            yield from self.commit()
        if not self._is_detecting and detection:
            self.clear()
        self._is_detecting = detection is not None
        self._utterances.detect(detection)
        self._interval = interval

    def feed(self, samples: NDArray[np.float32]) -> Iterator[LiveEvent]:
        """Add `samples`, shape (samples,), mono, 16 kHz, full scale 1.0, and yield the events that
        they cause. Exhaust the iterator before the next call."""
        self._audio.add(samples)
        probabilities = self._voice_activity.feed(samples)
        self._likely.add(probabilities)
        for probability in probabilities.tolist():
            step = self._utterances.step(probability)
            if step.started is not None:
                self._number += 1
                yield Started(self._number, round(step.started, 3))
            if step.ended:
                # sent before the last words, which take a moment to decode
                yield Stopped(self._number, *_rounded(step.ended), True)
            yield from self._pass_on(self._say(self._label(step.islands)))
            if step.ended:
                yield from self._pass_on(self._finish(step.ended))
            else:
                yield from self._pass_on(self._say(self._turns.settle(self._utterances.settled)))
        self._forget()

    def preview(self) -> Iterator[LiveEvent]:
        """Decode the open turn and yield the words that became final."""
        end = self._preview_end = self._utterances.seconds
        if self._utterances.speech_start is None and (turn := self._turns.ending):
            self._ahead = turn, hear_turn(turn, self._words, self._audio)
            yield from self._agree(self._ahead[1])
            return
        start = self._turns.start
        if start is None:
            speech = self._utterances.speech_start
            start = end if speech is None else max(0.0, speech - MARGIN_SECONDS)
        if end - start > MAX_PREVIEW_SECONDS:
            return
        samples = self._audio.read(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))
        yield from self._agree(self._words.recognize(samples))

    def _agree(self, heard: Words) -> Iterator[LiveEvent]:
        if heard.is_cut or heard.mean_log_probability < MIN_LOG_PROBABILITY:
            return
        if text := self._agreement.agree(heard.text):
            yield NewWords(self._number, text)

    def commit(self) -> Iterator[LiveEvent]:
        """End the open utterance; without one, all audio since the last utterance becomes an
        utterance."""
        if self._utterances.start is None or not self._is_detecting:
            self._number += 1
        step = self._utterances.commit()
        assert step.ended is not None
        yield Stopped(self._number, *_rounded(step.ended), False)
        held, self._held = self._held, []
        yield from (_numbered(event, self._number) for event in held)
        yield from self._say(self._label(step.islands))
        yield from self._finish(step.ended)
        self._forget()

    def clear(self) -> None:
        """Discard the open utterance and all audio since the last one."""
        self._utterances.clear()
        self._held.clear()
        self._turns.finish(self._utterances.seconds)
        self._agreement = Agreement()
        self._forget()

    def _label(self, islands: Iterable[Island]) -> Iterator[Turn]:
        for island in islands:
            samples = self._audio.read(island.start * FRAME, island.end * FRAME)
            yield from self._turns.feed(self._diarizer.feed(island, samples))

    def _say(self, turns: Iterable[Turn]) -> Iterator[LiveEvent]:
        for turn in turns:
            if self._ahead and self._ahead[0] == turn:
                heard = self._ahead[1]
            else:
                heard = hear_turn(turn, self._words, self._audio)
            segment = judge_turn(turn, heard, self._audio, self._likely)
            # Words sent before the turn proved unclear or noise count toward the next segment.
            if segment is None:
                continue
            if not segment.is_unclear and (text := self._agreement.settle(segment.text)):
                yield NewWords(self._number, text)
            yield Said(self._number, self._labeled(segment))

    def _finish(self, span: Span) -> Iterator[LiveEvent]:
        """End the last turn of an utterance."""
        yield from self._say(self._turns.finish(span.end))
        self._agreement = Agreement()
        yield Ended(self._number)

    def _pass_on(self, events: Iterable[LiveEvent]) -> Iterator[LiveEvent]:
        """Yield `events`, or hold them back until `commit`."""
        if self._is_detecting:
            yield from events
        else:
            self._held += events

    def _labeled(self, segment: Segment) -> Segment:
        return replace(segment, speaker=segment.speaker + self._first_speaker)

    def _forget(self) -> None:
        turn = self._turns.start
        needed = self._utterances.settled if turn is None else min(turn, self._utterances.settled)
        first = max(0, round(needed * SAMPLE_RATE) - MARGIN)
        self._audio.forget(first)
        self._likely.forget(first // FRAME)


def _rounded(span: Span) -> tuple[float, float]:
    return round(span.start, 3), round(span.end, 3)


def _numbered(event: LiveEvent, number: int) -> LiveEvent:
    return replace(event, utterance=number)
