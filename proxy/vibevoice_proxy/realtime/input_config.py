"""Applies the input configuration of a session; shared by both types of session."""

from vibevoice_proxy.errors import InvalidRequest
from vibevoice_proxy.realtime.client_events import InvalidEvent
from vibevoice_proxy.realtime.hearing import Hearing
from vibevoice_proxy.realtime.transcription_config import AudioInput


async def configure_input(
    hearing: Hearing,
    heard: AudioInput,
    *,
    with_logprobs: bool,
    max_prompt_chars: int,
    event_id: str | None,
) -> None:
    """Change the input configuration. Raises InvalidEvent, which names the session's field, without
    changing anything."""
    found = heard.transcription
    length = sum(map(len, found.info_texts)) if found else 0
    if length > max_prompt_chars:
        raise InvalidEvent(
            f"prompt and keywords have {length} characters in total; expected at most "
            f"{max_prompt_chars}.",
            param="session.audio.input.transcription.prompt",
            event_id=event_id,
        )
    try:
        await hearing.configure(
            heard.live_options,
            heard.format.type,
            with_logprobs=with_logprobs,
            event_id=event_id,
        )
    except InvalidEvent:
        raise
    except InvalidRequest as error:
        param = f"session.audio.input.transcription.{error.param}" if error.param else None
        raise InvalidEvent(str(error), param=param, code=error.code, event_id=event_id) from error
