"""A session of type `transcription`: transcribes the turns of its audio."""

from typing import Any

from vibevoice_proxy.realtime.client_events import (
    TRANSCRIPTION_EVENTS,
    AudioAppend,
    AudioClear,
    AudioCommit,
    InvalidEvent,
    SessionUpdate,
)
from vibevoice_proxy.realtime.hearing import Hearing
from vibevoice_proxy.realtime.input_config import configure_input
from vibevoice_proxy.realtime.outbox import Outbox
from vibevoice_proxy.realtime.transcription_config import TranscriptionConfig


class TranscriptionSession:
    """One session; see `Session`."""

    def __init__(
        self,
        session_id: str,
        config: TranscriptionConfig,
        hearing: Hearing,
        outbox: Outbox,
        *,
        expires_at: int,
        max_prompt_chars: int,
    ) -> None:
        """`expires_at`: Unix time in seconds."""
        self._id = session_id
        self._config = config
        self._hearing = hearing
        self._outbox = outbox
        self._expires_at = expires_at
        self._max_prompt_chars = max_prompt_chars

    async def begin(self) -> None:
        """See `Session.begin`. Raises InvalidEvent if the configuration is invalid."""
        await self._configure(self._config, None)
        await self._outbox.put("session.created", session=self._described())

    async def handle(self, message: str) -> None:
        """See `Session.handle`."""
        match event := await TRANSCRIPTION_EVENTS.receive(message):
            case SessionUpdate():
                await self._update(event)
            case AudioAppend():
                await self._hearing.append(event)
            case AudioCommit():
                await self._hearing.commit(event)
            case AudioClear():
                await self._hearing.clear(event)

    async def finish(self) -> None:
        """See `Session.finish`."""
        await self._hearing.finish()

    async def run(self) -> None:
        """See `Session.run`."""
        await self._hearing.run()

    async def _update(self, event: SessionUpdate) -> None:
        kind = event.session.get("type")
        if kind != "transcription":
            raise InvalidEvent(
                "This is a transcription session; expected a session of type 'transcription', "
                f"not {str(kind)[:80]!r}.",
                param="session.type",
                event_id=event.event_id,
            )
        config = self._config.updated(event.session, event.event_id)
        await self._configure(config, event.event_id)
        self._config = config
        await self._outbox.put("session.updated", session=self._described())

    async def _configure(self, config: TranscriptionConfig, event_id: str | None) -> None:
        await configure_input(
            self._hearing,
            config.audio.input,
            with_logprobs=config.with_logprobs,
            max_prompt_chars=self._max_prompt_chars,
            event_id=event_id,
        )

    def _described(self) -> dict[str, Any]:
        return describe_session(self._config, self._id, self._expires_at)


def describe_session(config: TranscriptionConfig, session_id: str, until: int) -> dict[str, Any]:
    """The session object sent to clients."""
    return {
        "id": session_id,
        "object": "realtime.transcription_session",
        "expires_at": until,
        **config.described(),
    }
