"""Client events of voice calls (openai 3.57, `types/realtime`), validated."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from vibevoice_proxy.realtime.call_config import MAX_NAME, MAX_TEXT, Choice, Name, Object, Tools
from vibevoice_proxy.realtime.client_events import (
    MAX_ID,
    AudioAppend,
    AudioClear,
    AudioCommit,
    Event,
    EventReader,
    SessionUpdate,
)
from vibevoice_proxy.realtime.transcription_config import AudioFormat

MAX_ITEM_CHARS = 1024 * 1024
"""Maximum characters in the text of an item."""
MAX_PARTS = 64
"""Maximum content parts of an item."""
MAX_INPUT = 64
"""Maximum input items of a response."""
MAX_METADATA = 16
"""Maximum key-value pairs. This and their lengths are OpenAI's limits."""

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID)]
Text = Annotated[str, Field(max_length=MAX_ITEM_CHARS)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TextContent(_Part):
    """Text of an item. Audio is only accepted in the input buffer."""

    type: Literal["input_text", "output_text", "text"]
    text: Text


class _Item(_Part):
    id: Id | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class Message(_Item):
    """A text message."""

    type: Literal["message"]
    role: Literal["system", "user", "assistant"]
    content: Annotated[list[TextContent], Field(max_length=MAX_PARTS)]


class FunctionCall(_Item):
    """A tool call."""

    type: Literal["function_call"]
    call_id: Id | None = None
    name: Name
    arguments: Text


class FunctionCallOutput(_Item):
    """The output of a tool call."""

    type: Literal["function_call_output"]
    call_id: Id
    output: Text


NewItem = Annotated[Message | FunctionCall | FunctionCallOutput, Field(discriminator="type")]


class ItemCreate(Event):
    """Adds an item to the conversation, by default at the end."""

    type: Literal["conversation.item.create"]
    item: NewItem
    previous_item_id: Id | None = None


class ItemDelete(Event):
    """Removes an item."""

    type: Literal["conversation.item.delete"]
    item_id: Id


class ItemRetrieve(Event):
    """Requests an item."""

    type: Literal["conversation.item.retrieve"]
    item_id: Id


class ItemTruncate(Event):
    """Reports how much of an answer the user heard."""

    type: Literal["conversation.item.truncate"]
    item_id: Id
    content_index: Annotated[int, Field(ge=0)]
    audio_end_ms: Annotated[int, Field(ge=0)]


class ResponseOutput(_Part):
    """`audio.output` of one response."""

    format: AudioFormat | None = None
    voice: Name | None = None


class ResponseAudio(_Part):
    """`audio` of a response."""

    output: ResponseOutput = ResponseOutput()


class ResponseConfig(_Part):
    """Overrides of the session for one response. Unsupported fields are accepted but ignored, as in
    `CallConfig`."""

    audio: ResponseAudio = ResponseAudio()
    conversation: Literal["auto", "none"] = "auto"
    input: Annotated[list[NewItem], Field(max_length=MAX_INPUT)] | None = None
    instructions: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    metadata: (
        Annotated[
            dict[
                Annotated[str, Field(max_length=64)],
                Annotated[str, Field(max_length=512)],
            ],
            Field(max_length=MAX_METADATA),
        ]
        | None
    ) = None
    output_modalities: list[Literal["audio"]] | None = None
    tools: Tools | None = None
    tool_choice: Choice | None = None
    max_output_tokens: int | Literal["inf"] | None = None
    parallel_tool_calls: bool | None = None
    prompt: None = None
    reasoning: Object | None = None


class ResponseCreate(Event):
    """Requests a response."""

    type: Literal["response.create"]
    response: ResponseConfig = ResponseConfig()


class ResponseCancel(Event):
    """Cancels the response in progress."""

    type: Literal["response.cancel"]
    response_id: Annotated[str, Field(max_length=MAX_NAME)] | None = None


CallEvent = (
    SessionUpdate
    | AudioAppend
    | AudioCommit
    | AudioClear
    | ItemCreate
    | ItemDelete
    | ItemRetrieve
    | ItemTruncate
    | ResponseCreate
    | ResponseCancel
)
MAX_CALL_CONTROL = 1024 * 1024
"""Limit in characters for messages without audio. Open WebUI 0.12 sends up to 700 kB at once: it
escapes the texts of a chat twice."""
CALL_EVENTS: EventReader[CallEvent] = EventReader(
    TypeAdapter(Annotated[CallEvent, Field(discriminator="type")]),
    "voice call over a WebSocket",
    frozenset({"output_audio_buffer.clear", "transcription_session.update"}),
    MAX_CALL_CONTROL,
)
