"""Live conversations with every model that this server transcribes with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread

from vibevoice_light import VoiceActivity, open_voice_activity
from vibevoice_proxy.live import LiveOptions, LiveStream
from vibevoice_proxy.transcription.light import LightRecognizer
from vibevoice_proxy.transcription.live_light import LightStream
from vibevoice_proxy.transcription.live_turns import TurnStream
from vibevoice_proxy.transcription.service import TranscriptionService


class LiveTranscription:
    """The `LiveRecognition` of a process: the light recognizer's words come while people speak,
    those of everything else turn by turn."""

    def __init__(self, service: TranscriptionService) -> None:
        self._service = service
        self._lock = asyncio.Lock()
        self._voice_activity: Any = None
        """The model that finds turns in this process; opened when one is to be found."""

    def check(self, options: LiveOptions) -> str:
        """As `LiveRecognition.check`."""
        return self._service.check(options).name

    @asynccontextmanager
    async def open(self, options: LiveOptions, session_id: str) -> AsyncIterator[LiveStream]:
        """As `LiveRecognition.open`."""
        recognizer = self._service.check(options).recognizer
        if isinstance(recognizer, LightRecognizer):
            yield LightStream(recognizer.pool, options)
            return
        async with self._lock:
            if self._voice_activity is None:
                self._voice_activity = await to_thread.run_sync(open_voice_activity)
        voice_activity = VoiceActivity(self._voice_activity)
        service = self._service
        yield TurnStream(
            service.transcribe_turn, voice_activity, options, session_id, service.live_speakers()
        )
