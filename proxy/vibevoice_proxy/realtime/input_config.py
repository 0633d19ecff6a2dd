"""How a session listens, applied: the same for sessions of both types."""

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
    """Hear so from now on. Raises InvalidEvent that names the field of the session, and changes
    nothing then."""
    found = heard.transcription
    length = sum(map(len, found.info_texts)) if found else 0
    if length > max_prompt_chars:
        raise InvalidEvent(
            f"prompt and keywords have {length} characters together; expected at most "
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
