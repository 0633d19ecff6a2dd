"""Runs a live conversation turn by turn, with a recognizer for whole recordings."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import numpy as np
from anyio import to_thread
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.speakers import UNKNOWN
from vibevoice_light import SAMPLE_RATE as LIGHT_RATE
from vibevoice_light import Utterances, VoiceActivity
from vibevoice_proxy.errors import InvalidAudio, ProxyError
from vibevoice_proxy.live import (
    Cleared,
    LiveEvent,
    LiveOptions,
    LiveSegment,
    LiveToken,
    MissingPart,
    NewWords,
    SpeechStarted,
    TokenUsage,
    TurnCommitted,
    TurnEnded,
    TurnFailed,
)
from vibevoice_proxy.transcription.live_speakers import LiveSpeakers
from vibevoice_proxy.transcription.transcript import Segment, Transcript, speech_delta

MAX_WAITING = 4
"""Maximum turns waiting for the recognizer; beyond it, the client waits."""

MAX_UNREAD = 64
"""Maximum unread events of a slow client; beyond it, recognition waits."""

Transcribe = Callable[[NDArray[np.int16], LiveOptions, str], AsyncGenerator[Segment | Transcript]]
"""Yields the segments of a turn, then its transcript. Arguments: samples at 24 kHz, shape
(samples,); options; request id. Raises ProxyError."""


class TurnStream:
    """One conversation; see `LiveStream`."""

    def __init__(
        self,
        transcribe: Transcribe,
        voice_activity: VoiceActivity,
        options: LiveOptions,
        session_id: str,
        speakers: LiveSpeakers | None,
    ) -> None:
        """`speakers`: None if voices are not compared; labels then contain the turn's number."""
        self._speakers = speakers
        self._transcribe = transcribe
        self._voice_activity = voice_activity
        self._options = options
        self._session_id = session_id
        self._resampler = AudioResampler(format="flt", layout="mono", rate=LIGHT_RATE)
        self._utterances = Utterances(options.detection)
        self._audio = _Audio()
        self._turn = 0
        self._events: asyncio.Queue[LiveEvent] = asyncio.Queue(MAX_UNREAD)
        self._whole: asyncio.Queue[tuple[TurnCommitted, NDArray[np.int16], LiveOptions]] = (
            asyncio.Queue(MAX_WAITING)
        )
        """Complete turns with the options that applied to them."""

    async def feed(self, samples: NDArray[np.int16]) -> None:
        """See `LiveStream.feed`."""
        self._audio.add(samples)
        for probability in (await to_thread.run_sync(self._hear, samples)).tolist():
            step = self._utterances.step(probability)
            if step.started is not None:
                self._turn += 1
                await self._events.put(SpeechStarted(self._turn, round(step.started, 3)))
            if step.ended:
                await self._end(*step.ended, is_detected=True)
        self._audio.forget(self._utterances.needed)

    async def commit(self) -> None:
        """See `LiveStream.commit`."""
        if self._utterances.start is None or self._options.detection is None:
            self._turn += 1
        step = self._utterances.commit()
        assert step.ended is not None
        await self._end(*step.ended, is_detected=False)

    async def clear(self) -> None:
        """See `LiveStream.clear`."""
        self._utterances.clear()
        await self._events.put(Cleared())

    async def update(self, options: LiveOptions) -> None:
        """See `LiveStream.update`."""
        before, self._options = self._options, options
        if before.detection and not options.detection and self._utterances.start is not None:
            self._options = before
            await self.commit()
            self._options = options
        if not before.detection and options.detection:
            self._utterances.clear()
        self._utterances.detect(options.detection)

    async def catch_up(self) -> None:
        """See `LiveStream.catch_up`."""
        await self._whole.join()
        await self._events.join()

    async def events(self) -> AsyncGenerator[LiveEvent]:
        """See `LiveStream.events`."""
        async with asyncio.TaskGroup() as tasks:
            work = tasks.create_task(self._work())
            try:
                while True:
                    yield await self._events.get()
                    self._events.task_done()
            finally:
                work.cancel()

    async def _end(self, start: float, end: float, *, is_detected: bool) -> None:
        turn = TurnCommitted(self._turn, round(start, 3), round(end, 3), is_detected)
        await self._events.put(turn)
        await self._whole.put((turn, self._audio.take(start, end), self._options))

    async def _work(self) -> None:
        while True:
            turn, samples, options = await self._whole.get()
            try:
                await self._recognize(turn, samples, options)
            except ProxyError as error:
                await self._events.put(TurnFailed(turn.turn, error))
            self._whole.task_done()

    async def _recognize(
        self, turn: TurnCommitted, samples: NDArray[np.int16], options: LiveOptions
    ) -> None:
        request_id = f"{self._session_id}-t{turn.turn}"
        text, until = "", turn.end
        found: list[Segment] = []
        usage: TokenUsage | None = None
        missing: list[MissingPart] = []
        try:
            async with aclosing(self._transcribe(samples, options, request_id)) as results:
                async for result in results:
                    if isinstance(result, Segment):
                        if delta := speech_delta(text, result):
                            text += delta
                            found.append(result)
                            await self._events.put(NewWords(turn.turn, delta))
                        continue
                    if result.usage:
                        count = result.usage
                        usage = TokenUsage(
                            count.input_tokens, count.output_tokens, count.audio_tokens
                        )
                    missing = [
                        MissingPart(turn.start + part.start, turn.start + part.end, part.reason)
                        for part in result.missing
                    ]
        except InvalidAudio as error:
            if error.code != "audio_too_short":
                raise
        for segment in await self._label(turn, samples, found):
            until = segment.end
            await self._events.put(segment)
        seconds = round(len(samples) / SAMPLE_RATE, 3)
        await self._events.put(TurnEnded(turn.turn, text, seconds, until, usage, missing))

    async def _label(
        self, turn: TurnCommitted, samples: NDArray[np.int16], segments: Sequence[Segment]
    ) -> list[LiveSegment]:
        """Convert the segments of a turn to times and labels of the whole conversation."""
        if self._speakers:
            names = await self._speakers.label(samples, segments)
        else:
            names = [one.speaker and f"{one.speaker}{turn.turn}" or UNKNOWN for one in segments]
        return [
            LiveSegment(
                turn.turn,
                round(turn.start + one.start, 3),
                round(turn.start + one.end, 3),
                name,
                one.text,
                [LiveToken(*token) for token in one.tokens],
            )
            for one, name in zip(segments, names, strict=True)
        ]

    def _hear(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        frame = AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        parts = [out.to_ndarray()[0] for out in self._resampler.resample(frame)]
        return self._voice_activity.feed(np.concatenate([*parts, np.zeros(0, np.float32)]))


class _Audio:
    """Buffers the audio that may still belong to a turn, at 24 kHz."""

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.int16]] = []
        self._first = 0

    def add(self, samples: NDArray[np.int16]) -> None:
        self._blocks.append(samples)

    def take(self, start: float, end: float) -> NDArray[np.int16]:
        """Return the audio from `start` to `end`, in seconds of the conversation; drop everything
        before `end`."""
        whole = np.concatenate([*self._blocks, np.zeros(0, np.int16)])
        first, last = (max(0, round(at * SAMPLE_RATE) - self._first) for at in (start, end))
        rest = whole[last:].copy()
        self._first += len(whole) - len(rest)
        self._blocks = [rest] if len(rest) else []
        return whole[first:last].copy()

    def forget(self, before: float) -> None:
        """Drop whole blocks that end before this time, in seconds."""
        sample = round(before * SAMPLE_RATE)
        while self._blocks and self._first + len(self._blocks[0]) <= sample:
            self._first += len(self._blocks.pop(0))
