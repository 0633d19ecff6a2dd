"""Client events (openai 3.57, `types/realtime`), validated."""

import re
from collections.abc import Mapping, Set
from typing import Annotated, Any, Generic, Literal, TypeVar

from anyio import to_thread
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vibevoice_proxy.errors import InvalidRequest

MAX_ID = 512
"""Maximum characters of an event's id."""


class Event(BaseModel):
    """Base class of all events."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    event_id: Annotated[str, Field(max_length=MAX_ID)] | None = None


class SessionUpdate(Event):
    """Changes the given fields of the session."""

    type: Literal["session.update"]
    session: dict[str, Any]


class AudioAppend(Event):
    """Sends audio."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class AudioCommit(Event):
    """Ends a turn."""

    type: Literal["input_audio_buffer.commit"]


class AudioClear(Event):
    """Discards uncommitted audio."""

    type: Literal["input_audio_buffer.clear"]


ClientEvent = SessionUpdate | AudioAppend | AudioCommit | AudioClear
LONG_MESSAGE = 64 * 1024
"""Messages with more characters are parsed in a thread."""
MAX_CONTROL = 256 * 1024
"""Maximum characters of a message without audio."""
_MEMBER = rf'"(?:type|event_id)"\s*+:\s*+"[^"\\]{{0,{MAX_ID}}}+"'
_AUDIO = re.compile(
    rf'\s*+\{{\s*+(?:{_MEMBER}\s*+,\s*+)*+"audio"\s*+:\s*+"[^"\\]*+(?:\\/[^"\\]*+)*+"\s*+'
    rf"(?:,\s*+{_MEMBER}\s*+)*+\}}\s*+"
)
"""Matches an `input_audio_buffer.append` event without backtracking."""
UNSUPPORTED = frozenset(
    {
        *("conversation.item.create", "conversation.item.delete", "conversation.item.retrieve"),
        *("conversation.item.truncate", "output_audio_buffer.clear"),
        *("response.cancel", "response.create"),
        "transcription_session.update",
    }
)
"""Events of the API that transcription sessions do not support."""
_TAG = re.compile(
    r"server_vad|semantic_vad|audio/.*|function|message|function_call|function_call_output"
    r"|literal\[.*|ToolChoice|VoiceId|function-after\[.*"
)
"""Matches what pydantic adds to the location of a field with several types."""
_BETA = "transcription_session.update"


class InvalidEvent(InvalidRequest):
    """An invalid or unsupported event."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        event_id: str | None = None,
    ) -> None:
        """`event_id`: id of the event, if it has one."""
        super().__init__(message, param=param, code=code)
        self.event_id = event_id


def _check_length(text: str, most: int) -> None:
    """Raises InvalidEvent for a message without audio that has more than `most` characters: parsing
    and validating it could take seconds."""
    if len(text) > most and not _AUDIO.fullmatch(text):
        raise InvalidEvent(
            f"The message has {len(text)} characters; expected at most {most}, "
            "except for input_audio_buffer.append with only `type`, `audio` and "
            "`event_id`.",
            code="message_too_long",
        )


AnyEvent = TypeVar("AnyEvent")


class EventReader(Generic[AnyEvent]):
    """Reads the events that one type of session supports."""

    def __init__(
        self, adapter: TypeAdapter[AnyEvent], kind: str, refused: Set[str], max_characters: int
    ) -> None:
        """`kind`: type of the session, for messages. `refused`: event types of the API that it does
        not support. `max_characters`: limit for messages without audio."""
        self._adapter = adapter
        self._kind = kind
        self._refused = refused
        self._max_characters = max_characters
        mapping: Mapping[str, Any] = adapter.json_schema()["discriminator"]["mapping"]
        self._types = tuple(mapping)

    async def receive(self, text: str) -> AnyEvent:
        """Like `read`, but parses long messages in a thread. Raises InvalidEvent."""
        if len(text) > LONG_MESSAGE:
            return await to_thread.run_sync(self.read, text)
        return self.read(text)

    def read(self, text: str) -> AnyEvent:
        """Parse the event in a message. Raises InvalidEvent."""
        _check_length(text, self._max_characters)
        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            raise self._explain(text, error) from None

    def _explain(self, text: str, error: ValidationError) -> InvalidEvent:
        first = error.errors(include_input=False, include_url=False)[0]
        if first["type"] == "json_invalid":
            return InvalidEvent(
                f"The message is not valid JSON: {first['msg']}. Expected one event as a JSON "
                "object.",
                code="invalid_json",
            )
        head = _head(text)
        event_id = head.event_id if head else None
        if head is None or head.type is None:
            return InvalidEvent(
                "The message is not an event; expected a JSON object with a `type`.",
                param="type",
                code="invalid_event",
                event_id=event_id,
            )
        if head.type in self._refused:
            hint = " Send session.update." if head.type == _BETA else ""
            return InvalidEvent(
                f"A {self._kind} does not support the event {head.type!r}.{hint}",
                param="type",
                code="unsupported_event",
                event_id=event_id,
            )
        if head.type not in self._types:
            return InvalidEvent(
                f"The event type {head.type[:80]!r} is unknown; expected one of "
                f"{', '.join(self._types)}.",
                param="type",
                code="unknown_event",
                event_id=event_id,
            )
        return invalid_field(first["loc"][1:], first["type"], first["msg"], event_id=event_id)


def invalid_field(
    location: tuple[int | str, ...], kind: str, message: str, *, event_id: str | None
) -> InvalidEvent:
    """The error for a field that pydantic rejected."""
    param = ".".join(str(part) for part in location if not _TAG.fullmatch(str(part)))
    if kind == "extra_forbidden":
        text, code = f"Unknown parameter: {param!r}.", "unknown_parameter"
    elif kind == "missing":
        text, code = f"Missing required parameter: {param!r}.", "missing_required_parameter"
    else:
        text, code = f"Invalid value for {param!r}: {message}.", "invalid_value"
    return InvalidEvent(text, param=param, code=code, event_id=event_id)


class _Head(BaseModel):
    model_config = ConfigDict(strict=True)

    type: str | None = None
    event_id: str | None = None


def _head(text: str) -> _Head | None:
    """The readable head of a message that is not a valid event."""
    for kept in ({"type", "event_id"}, {"type"}, {"event_id"}):
        try:
            values = TypeAdapter(dict[str, Any]).validate_json(text)
            return _Head.model_validate({key: values[key] for key in kept & values.keys()})
        except ValidationError:
            continue
    return None


TRANSCRIPTION_EVENTS: EventReader[ClientEvent] = EventReader(
    TypeAdapter(Annotated[ClientEvent, Field(discriminator="type")]),
    "transcription session",
    UNSUPPORTED,
    MAX_CONTROL,
)
