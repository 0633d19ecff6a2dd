"""Speaks a script with one worker, passage by passage."""

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from secrets import randbelow

from vibevoice_tts.characters import is_latin
from vibevoice_tts.models import ModelCard
from vibevoice_tts.process import WorkerProcess, WorkerUnavailable
from vibevoice_tts.protocol import ModelInfo
from vibevoice_tts.script import Passage, Script, read_script, split_turns, words_in
from vibevoice_tts.speech_model import (
    CannotClone,
    Chunk,
    End,
    NotEnglish,
    Prepared,
    Samples,
    SpeechError,
    SpeechRequest,
    Turn,
)
from vibevoice_tts.trimming import PassageAudio
from vibevoice_tts.voices import VoiceTable

MAX_SILENCE_SECONDS = 5.0
"""Silence after which a passage counts as failed; a pause within speech lasts a second or two."""
SHORT_WORDS = 4
"""Passages with at most this many words are checked in full before any audio is sent: the models
are documented as unstable for three words or fewer, and short passages take little time."""
SEEDS = 2**31

logger = logging.getLogger(__name__)


class SpeechQueueFull(SpeechError):
    """The queue is at its limit."""


class BadSpeech(SpeechError):
    """The model produced silence or did not stop, even on the second attempt."""


@dataclass(frozen=True)
class Plan:
    """A script ready to be spoken."""

    info: ModelInfo
    """The model that speaks it."""
    passages: list[Passage]
    """In order, with resolved voices; empty for a text without words."""


class Synthesizer:
    """Speaks scripts with one worker and limits how many requests wait for it."""

    def __init__(self, worker: WorkerProcess, *, max_waiting: int, passage_chars: int) -> None:
        """`max_waiting`: how many requests may wait while the worker is at capacity.
        `passage_chars`: maximum length of a passage, as measured by `text.weight`."""
        self._worker = worker
        self._max_waiting = max_waiting
        self._passage_chars = passage_chars
        self._admitted = 0

    @property
    def name(self) -> str:
        """The model's name."""
        return self._worker.name

    @property
    def card(self) -> ModelCard:
        """The model's row in the table."""
        return self._worker.config.card

    @property
    def clones(self) -> bool:
        """Whether the model can use voices supplied with a request."""
        return self.card.clones

    @property
    def info(self) -> ModelInfo | None:
        """Properties reported by the loaded model; None before it is loaded."""
        return self._worker.info

    @property
    def is_ready(self) -> bool:
        """Whether the worker is ready to serve requests."""
        return self._worker.is_ready

    @property
    def unready_message(self) -> str:
        """A message for clients about why the model cannot speak now."""
        return self._worker.unready_message

    @property
    def restarts(self) -> int:
        """How often the worker died and was restarted."""
        return self._worker.restarts

    @property
    def in_flight(self) -> int:
        """Requests being spoken."""
        return self._worker.in_flight

    @property
    def waiting(self) -> int:
        """Requests waiting to be spoken."""
        return max(self._admitted - self._worker.in_flight, 0)

    def has_voice(self, name: str) -> bool:
        """Whether the model itself has a voice or alias with this name, in any case; False before
        the model is loaded."""
        known = (*self.info.voices, *self.info.aliases) if self.info else ()
        return bool(name) and name.lower() in {voice.lower() for voice in known}

    def check_cloning(self) -> None:
        """Raises CannotClone if the model only supports its own voices."""
        if not self.clones:
            raise CannotClone(self.name)

    def check_queue(self) -> None:
        """Raises SpeechQueueFull if another request would be rejected."""
        most = self._worker.config.capacity + self._max_waiting
        if self._admitted >= most:
            raise SpeechQueueFull(f"{most} requests are in progress or waiting. Try again soon.")

    def plan(self, script: Script) -> Plan:
        """Split a script into passages and resolve its voices.

        Raises:
            SpeechRejected: a voice is unknown, the model cannot clone, or a passage is mostly in
                a script that the model cannot read.
            WorkerUnavailable: the model has not been loaded yet, so its voices are unknown.
        """
        info = self.info
        if info is None:
            raise WorkerUnavailable(self.unready_message)
        if script.samples:
            self.check_cloning()
        table = VoiceTable(info.voices, info.aliases, default="")

        def find(name: str) -> str:
            return name if name in script.samples else table.find(name)

        speakers = script.speakers and {name: find(v) for name, v in script.speakers.items()}
        turns = read_script(script.text, find(script.voice), speakers, info.voices)
        turns = _with_voices(turns, self.card.max_speakers)
        most = min(script.passage_chars or self._passage_chars, self._passage_chars)
        passages = split_turns(turns, most)
        if self.card.english_only and not all(map(_is_latin, passages)):
            raise NotEnglish(self.card)
        return Plan(info, passages)

    async def speak(self, script: Script, plan: Plan) -> AsyncGenerator[Prepared | Samples | End]:
        """Yield the audio of a plan as it is generated, mono float32 at `plan.info.sample_rate`.
        For each passage, Prepared may come before its audio, and End comes after it.

        Close the generator to stop. A plan without passages does not count toward the queue. Raises
        SpeechQueueFull before yielding anything, BadSpeech, and whatever WorkerProcess.synthesize
        raises.
        """
        if not plan.passages:
            return
        with self._admit():
            for passage in plan.passages:
                request = SpeechRequest(
                    passage,
                    cfg_scale=script.cfg_scale,
                    steps=script.steps,
                    seed=script.seed,
                    samples=script.samples,
                )
                async with aclosing(self._speak_passage(request, plan.info)) as events:
                    async for event in events:
                        yield event

    @contextmanager
    def _admit(self) -> Iterator[None]:
        self.check_queue()
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def _speak_passage(
        self, request: SpeechRequest, info: ModelInfo
    ) -> AsyncGenerator[Prepared | Samples | End]:
        """Speak one passage; retry with another seed if it failed before any sound was sent."""
        sent = False
        try:
            async with aclosing(self._attempt(request, info)) as events:
                async for event in events:
                    sent = sent or not isinstance(event, Prepared | End)
                    yield event
            return
        except BadSpeech as error:
            if sent:
                raise
            logger.warning("a passage of %d words: %s", words_in(request.turns), error)
        seed = randbelow(SEEDS) if request.seed is None else (request.seed + 1) % SEEDS
        async with aclosing(self._attempt(replace(request, seed=seed), info)) as events:
            async for event in events:
                yield event

    async def _attempt(
        self, request: SpeechRequest, info: ModelInfo
    ) -> AsyncGenerator[Prepared | Samples | End]:
        """Speak and trim one passage once; raises BadSpeech."""
        passage = PassageAudio(info.sample_rate)
        whole = words_in(request.turns) <= SHORT_WORDS
        checked: list[Samples] = []
        end: End | None = None
        async with aclosing(self._worker.synthesize(request)) as events:
            async for event in events:
                match event:
                    case Prepared():
                        yield event
                    case Chunk(_, samples):
                        samples = passage.feed(samples)
                        if passage.pending > MAX_SILENCE_SECONDS * info.sample_rate:
                            raise BadSpeech("The model stopped producing sound.")
                        if whole:
                            checked.append(samples)
                        elif len(samples):
                            yield samples
                    case End(_, "length"):
                        raise BadSpeech("The model did not stop by itself.")
                    case End():
                        end = event
        if not passage.heard:
            raise BadSpeech("The model produced only silence.")
        for samples in checked:
            yield samples
        yield passage.finish()
        if end:
            yield end


def _is_latin(passage: Passage) -> bool:
    return is_latin(" ".join(turn.text for turn in passage))


def _with_voices(turns: tuple[Turn, ...], most: int) -> tuple[Turn, ...]:
    """Limit `turns` to `most` voices: additional voices are replaced by the first ones, in turn."""
    voices = list(dict.fromkeys(turn.voice for turn in turns))
    instead = {voice: voices[number % most] for number, voice in enumerate(voices)}
    return tuple(replace(turn, voice=instead[turn.voice]) for turn in turns)
