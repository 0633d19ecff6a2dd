"""Text in, speech out: the pieces of a text spoken one after another by one worker."""

import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from secrets import randbelow

from vibevoice_tts.engine import (
    CannotClone,
    End,
    InvalidRequest,
    Prepared,
    Samples,
    SpeechError,
    SpeechRequest,
)
from vibevoice_tts.joints import PieceAudio
from vibevoice_tts.models import NAMES
from vibevoice_tts.process import WorkerProcess, WorkerUnavailable
from vibevoice_tts.script import Piece, cut, read_script, words_in
from vibevoice_tts.voices import VoiceTable

MOST_SILENCE_SECONDS = 5.0
"""Silence after which a piece counts as failed: a pause within speech lasts a second or two."""
SHORT_WORDS = 4
"""Up to this many words a piece is checked whole before anything of it is sent: the models are
documented as unstable for three words or fewer, and so little is made in a moment."""
SEEDS = 2**31

logger = logging.getLogger(__name__)


class TooManyRequests(SpeechError):
    """As many requests as may wait are waiting."""


class BadSpeech(SpeechError):
    """The model made silence or did not come to an end, also at the second try."""


@dataclass(frozen=True)
class Script:
    """What a client asks to be said, and how."""

    text: str
    voice: str = ""
    speakers: Mapping[str, str] | None = None
    """Name → voice of the speakers of a script."""
    cfg_scale: float | None = None
    steps: int | None = None
    seed: int | None = None
    samples: Mapping[str, Samples] = field(default_factory=dict)
    """Recordings to clone, by the names of voices that mean them."""


class Synthesizer:
    """Speaks scripts with one worker, so many at a time and no more."""

    def __init__(self, worker: WorkerProcess, *, max_waiting: int, piece_weight: int) -> None:
        """`max_waiting` requests may be there beside those that the worker has places for;
        `piece_weight` is the length of a piece as `text.weight` counts."""
        self.worker = worker
        self._max_waiting = max_waiting
        self._piece_weight = piece_weight
        self._present = 0

    @property
    def present(self) -> int:
        """Requests that speak or wait."""
        return self._present

    def has_voice(self, name: str) -> bool:
        """Whether the model itself has a voice or an alias of this name, in any case; False before
        it is loaded."""
        info = self.worker.info
        known = (*info.voices, *info.aliases) if info else ()
        return bool(name) and name.lower() in {voice.lower() for voice in known}

    def check_cloning(self) -> None:
        """Raises CannotClone when the model has only voices of its own."""
        model = self.worker.model
        if not model.clones:
            raise CannotClone(f"The model {model.name} cannot clone voices; {NAMES['full']} can.")

    def plan(self, script: Script) -> list[Piece]:
        """The pieces of a script, with the voices found.

        Raises:
            InvalidRequest: nothing to say, an unknown voice, too many speakers, no cloning.
            WorkerUnavailable: the worker was never ready, so that its voices are unknown.
        """
        info = self.worker.info
        if info is None:
            raise WorkerUnavailable(self.worker.unready_message)
        if script.samples:
            self.check_cloning()
        table = VoiceTable(info.voices, info.aliases, default="")

        def find(name: str) -> str:
            return name if name in script.samples else table.find(name)

        speakers = script.speakers and {name: find(v) for name, v in script.speakers.items()}
        turns = read_script(script.text, find(script.voice), speakers, info.voices)
        count = len({turn.voice for turn in turns})
        if count > info.max_speakers:
            raise InvalidRequest(
                f"The script has {count} voices; {info.name} speaks with at most "
                f"{info.max_speakers}."
            )
        return cut(turns, self._piece_weight)

    async def speak(
        self, script: Script, pieces: list[Piece]
    ) -> AsyncGenerator[Prepared | Samples | End]:
        """The audio of `pieces` as it is made, mono float32 at the engine's rate; before that of a
        piece what its voices cost, and after it its end.

        Close the generator to stop. Raises TooManyRequests before anything else, BadSpeech, and
        whatever WorkerProcess.synthesize raises.
        """
        with self._admitted():
            for piece in pieces:
                request = SpeechRequest(
                    piece,
                    cfg_scale=script.cfg_scale,
                    steps=script.steps,
                    seed=script.seed,
                    samples=script.samples,
                )
                async with aclosing(self._speak_piece(request)) as events:
                    async for event in events:
                        yield event

    def check_room(self) -> None:
        """Raises TooManyRequests when another request would not be spoken."""
        most = self.worker.model.capacity + self._max_waiting
        if self._present >= most:
            raise TooManyRequests(f"{most} requests are being spoken or wait. Try again soon.")

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        self.check_room()
        self._present += 1
        try:
            yield
        finally:
            self._present -= 1

    async def _speak_piece(
        self, request: SpeechRequest
    ) -> AsyncGenerator[Prepared | Samples | End]:
        """One piece, tried again with another seed where the first try failed before any sound."""
        sent = False
        try:
            async with aclosing(self._attempt(request)) as events:
                async for event in events:
                    sent = sent or not isinstance(event, Prepared | End)
                    yield event
            return
        except BadSpeech as error:
            if sent:
                raise
            logger.warning("a piece of %d words: %s", words_in(request.turns), error)
        seed = randbelow(SEEDS) if request.seed is None else (request.seed + 1) % SEEDS
        async with aclosing(self._attempt(replace(request, seed=seed))) as events:
            async for event in events:
                yield event

    async def _attempt(self, request: SpeechRequest) -> AsyncGenerator[Prepared | Samples | End]:
        assert self.worker.info is not None
        rate = self.worker.info.sample_rate
        piece = PieceAudio(rate)
        whole = words_in(request.turns) <= SHORT_WORDS
        ready: list[Samples] = []
        end: End | None = None
        async with aclosing(self.worker.synthesize(request)) as events:
            async for event in events:
                if isinstance(event, Prepared):
                    yield event
                    continue
                if isinstance(event, End):
                    end = event
                    if event.reason == "length":
                        raise BadSpeech("The model did not come to an end.")
                    break
                samples = piece.feed(event.samples)
                if piece.held > MOST_SILENCE_SECONDS * rate:
                    raise BadSpeech("The model fell silent.")
                if whole:
                    ready.append(samples)
                elif len(samples):
                    yield samples
        if not piece.heard:
            raise BadSpeech("The model made no sound.")
        for samples in ready:
            yield samples
        yield piece.finish()
        if end:
            yield end
