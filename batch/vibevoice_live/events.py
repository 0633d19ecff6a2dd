"""The server events that the client uses (openai 3.57, `types/realtime`)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

BUFFER = "input_audio_buffer"
TRANSCRIPTION = "conversation.item.input_audio_transcription"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ErrorBody(_Part):
    """The body of an error."""

    message: str = "the server gave no reason"
    event_id: str | None = None
    """Id of the client's event that caused the error."""


class Missing(_Part):
    """A part of a turn without a transcript; an extension of this project."""

    start: float
    end: float
    reason: str


class SpeechStarted(_Part):
    """A turn starts."""

    type: Literal["input_audio_buffer.speech_started"]
    item_id: str
    audio_start_ms: int


class SpeechStopped(_Part):
    """A silence ended a turn."""

    type: Literal["input_audio_buffer.speech_stopped"]
    item_id: str
    audio_end_ms: int


class Committed(_Part):
    """The audio of a turn is complete: `Completed` or `Failed` follows."""

    type: Literal["input_audio_buffer.committed"]
    item_id: str


class Cleared(_Part):
    """Audio outside of turns was discarded."""

    type: Literal["input_audio_buffer.cleared"]


class Delta(_Part):
    """More words of a turn."""

    type: Literal["conversation.item.input_audio_transcription.delta"]
    item_id: str
    delta: str = ""


class Segment(_Part):
    """Words of one speaker."""

    type: Literal["conversation.item.input_audio_transcription.segment"]
    item_id: str
    start: float
    end: float
    speaker: str
    text: str


class Completed(_Part):
    """The final text of a turn."""

    type: Literal["conversation.item.input_audio_transcription.completed"]
    item_id: str
    transcript: str
    missing: Sequence[Missing] = ()


class Failed(_Part):
    """A turn could not be transcribed."""

    type: Literal["conversation.item.input_audio_transcription.failed"]
    item_id: str
    error: ErrorBody


class ErrorEvent(_Part):
    """An error that belongs to no turn."""

    type: Literal["error"]
    error: ErrorBody


class OtherEvent(_Part):
    """An event that the client does not use."""

    type: str


ServerEvent = (
    SpeechStarted
    | SpeechStopped
    | Committed
    | Cleared
    | Delta
    | Segment
    | Completed
    | Failed
    | ErrorEvent
    | OtherEvent
)

_TYPES: Mapping[str, type[ServerEvent]] = {
    f"{BUFFER}.speech_started": SpeechStarted,
    f"{BUFFER}.speech_stopped": SpeechStopped,
    f"{BUFFER}.committed": Committed,
    f"{BUFFER}.cleared": Cleared,
    f"{TRANSCRIPTION}.delta": Delta,
    f"{TRANSCRIPTION}.segment": Segment,
    f"{TRANSCRIPTION}.completed": Completed,
    f"{TRANSCRIPTION}.failed": Failed,
    "error": ErrorEvent,
}


def parse(text: str | bytes) -> tuple[ServerEvent, dict[str, Any]]:
    """The event in a message, and all its fields. Raises ValueError if it is not an event."""
    try:
        fields = json.loads(text)
        return _TYPES.get(OtherEvent.model_validate(fields).type, OtherEvent)(**fields), fields
    except (ValueError, RecursionError) as error:
        wrong = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ()
        where = f": {'.'.join(map(str, wrong))}" if wrong else ""
        raise ValueError(f"the server's message is not an event of OpenAI's API{where}") from error
