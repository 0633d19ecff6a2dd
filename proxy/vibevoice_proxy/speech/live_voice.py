"""Live speech with the speech models of this server."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import monotonic

from anyio import to_thread

from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.speech.delivery import Delivery
from vibevoice_proxy.speech.errors import speech_errors
from vibevoice_proxy.speech.formats import FASTEST, SLOWEST
from vibevoice_proxy.speech.options import SpeechOptions
from vibevoice_proxy.speech.service import SpeechService
from vibevoice_proxy.voice import VoiceOptions
from vibevoice_tts import Passage, Plan, Script, Synthesizer

PASSAGE_CHARS = 200
"""Maximum length of a passage: a few sentences, about 12 s. The next passage is synthesized while
one is played, so an interruption wastes at most one passage."""


class LiveVoice:
    """Implements `Voice` with the speech service of the process."""

    def __init__(self, service: SpeechService) -> None:
        self._service = service

    async def check(self, options: VoiceOptions) -> None:
        """See `Voice.check`."""
        if not SLOWEST <= options.speed <= FASTEST:
            raise InvalidRequest(
                f"Invalid value for speed: expected {SLOWEST} to {FASTEST}.", param="speed"
            )
        if all(model.info for model in self._service.candidates(options.model)):
            with speech_errors():
                await self._plan("", options)

    async def speak(self, text: str, options: VoiceOptions) -> AsyncGenerator[str | bytes]:
        """See `Voice.speak`."""
        most = self._service.settings.tts_max_input_chars
        if len(text) > most:
            raise InvalidRequest(
                f"The text has {len(text)} characters; expected at most {most}.",
                code="string_above_max_length",
            )
        started = monotonic()
        metrics = self._service.metrics
        with metrics.errors(self._service.find(options.model).name), speech_errors():
            synthesizer, script, plan = await self._plan(text, options)
        delivery = Delivery(
            synthesizer,
            script,
            plan,
            metrics=metrics,
            encoders=self._service.encoders,
            started=started,
            warning="",
        )
        passages = iter(enumerate(plan.passages))
        following = next(passages, None)
        async with aclosing(delivery.audio("pcm", options.speed)) as chunks:
            async for chunk in chunks:
                while following and following[0] <= delivery.passages_spoken:
                    yield _words(following[1])
                    following = next(passages, None)
                yield chunk

    async def _plan(self, text: str, options: VoiceOptions) -> tuple[Synthesizer, Script, Plan]:
        """Choose the model and voice for `text`. Raises SpeechError or ModelNotFound."""
        service = self._service
        wanted = SpeechOptions(input=text, model=options.model, voice=options.voice)
        samples = await service.samples.collect(wanted, service.find(options.model))
        script = Script(
            text=text, voice=wanted.voice_name, samples=samples, passage_chars=PASSAGE_CHARS
        )
        synthesizer, plan = await to_thread.run_sync(service.plan, options.model, script)
        return synthesizer, script, plan


def _words(passage: Passage) -> str:
    return " ".join(turn.text for turn in passage)
