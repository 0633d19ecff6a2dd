"""Text in, speech out: the passages of a script spoken one after another by one worker."""

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
"""Silence after which a passage counts as failed: a pause within speech lasts a second or two."""
SHORT_WORDS = 4
"""Up to this many words a passage is checked whole before anything of it is sent: the models are
documented as unstable for three words or fewer, and so few words are spoken in a moment."""
SEEDS = 2**31

logger = logging.getLogger(__name__)


class SpeechQueueFull(SpeechError):
    """As many requests as may wait are waiting."""


class BadSpeech(SpeechError):
    """The model made silence or did not come to an end, at the second try too."""


@dataclass(frozen=True)
class Plan:
    """A script ready to be spoken."""

    info: ModelInfo
    """The model that speaks it."""
    passages: list[Passage]
    """In order, with the voices found; none for a text without words."""


class Synthesizer:
    """Speaks scripts with one worker, and bounds how many requests wait for it."""

    def __init__(self, worker: WorkerProcess, *, max_waiting: int, passage_chars: int) -> None:
        """`max_waiting` requests may wait while the worker speaks as many as it can;
        `passage_chars` is the longest passage as `text.weight` counts."""
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
        """The model's row of the table."""
        return self._worker.config.card

    @property
    def clones(self) -> bool:
        """Whether the model speaks with voices that come with a request."""
        return self.card.clones

    @property
    def info(self) -> ModelInfo | None:
        """What the loaded model says of itself; None before it is loaded."""
        return self._worker.info

    @property
    def is_ready(self) -> bool:
        """Whether requests are served at once."""
        return self._worker.is_ready

    @property
    def unready_message(self) -> str:
        """Why nothing can be spoken now, for clients."""
        return self._worker.unready_message

    @property
    def restarts(self) -> int:
        """How often the worker was lost and another one started."""
        return self._worker.restarts

    @property
    def in_flight(self) -> int:
        """Requests being spoken."""
        return self._worker.in_flight

    @property
    def waiting(self) -> int:
        """Requests that wait to be spoken."""
        return max(self._admitted - self._worker.in_flight, 0)

    def has_voice(self, name: str) -> bool:
        """Whether the model itself has a voice or an alias of this name, in any case; False before
        it is loaded."""
        known = (*self.info.voices, *self.info.aliases) if self.info else ()
        return bool(name) and name.lower() in {voice.lower() for voice in known}

    def check_cloning(self) -> None:
        """Raises CannotClone when the model has only voices of its own."""
        if not self.clones:
            raise CannotClone(self.name)

    def check_queue(self) -> None:
        """Raises SpeechQueueFull when another request would be refused."""
        most = self._worker.config.capacity + self._max_waiting
        if self._admitted >= most:
            raise SpeechQueueFull(f"{most} requests are being spoken or wait. Try again soon.")

    def plan(self, script: Script) -> Plan:
        """Cut a script into passages and find its voices.

        Raises:
            SpeechRejected: an unknown voice, no cloning, or a passage mostly in letters that the
                model cannot read.
            WorkerUnavailable: the model was never loaded, so that its voices are unknown.
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
        """The audio of a plan as it is made, mono float32 at `plan.info.sample_rate`; before that
        of a passage the cost of its voices, and after it its end.

        Close the generator to stop. A plan without passages takes no place. Raises
        SpeechQueueFull before anything else, BadSpeech, and whatever WorkerProcess.synthesize
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
        """One passage, tried again with another seed if the first try failed before any sound."""
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
        """One passage, spoken once and trimmed; raises BadSpeech."""
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
                            raise BadSpeech("The model fell silent.")
                        if whole:
                            checked.append(samples)
                        elif len(samples):
                            yield samples
                    case End(_, "length"):
                        raise BadSpeech("The model did not come to an end.")
                    case End():
                        end = event
        if not passage.heard:
            raise BadSpeech("The model made no sound.")
        for samples in checked:
            yield samples
        yield passage.finish()
        if end:
            yield end


def _is_latin(passage: Passage) -> bool:
    return is_latin(" ".join(turn.text for turn in passage))


def _with_voices(turns: tuple[Turn, ...], most: int) -> tuple[Turn, ...]:
    """`turns` in at most `most` voices: further ones are spoken by the first ones, in turn."""
    voices = list(dict.fromkeys(turn.voice for turn in turns))
    instead = {voice: voices[number % most] for number, voice in enumerate(voices)}
    return tuple(replace(turn, voice=instead[turn.voice]) for turn in turns)
