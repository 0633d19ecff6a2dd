"""Live conversations with any recognizer of this server."""

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
    """Implements `LiveRecognition`. The light recognizer returns words while people speak; all
    others return whole turns."""

    def __init__(self, service: TranscriptionService) -> None:
        self._service = service
        self._lock = asyncio.Lock()
        self._voice_activity: Any = None
        """The voice activity model in this process; loaded on first use."""

    def check(self, options: LiveOptions) -> str:
        """See `LiveRecognition.check`."""
        return self._service.check(options).name

    @asynccontextmanager
    async def open(self, options: LiveOptions, session_id: str) -> AsyncIterator[LiveStream]:
        """See `LiveRecognition.open`."""
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
