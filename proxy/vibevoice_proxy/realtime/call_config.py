"""The configuration of a voice call (openai 3.57, `RealtimeSessionCreateRequest`)."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from vibevoice_proxy.realtime.transcription_config import (
    AudioFormat,
    AudioInput,
    Part,
    Pcm,
    with_changes,
)
from vibevoice_proxy.voice import VoiceOptions

CHAT_TOOL = "generate_chat_completion"
"""Open WebUI's tool for answers; preferred if several tools could answer."""
MAX_TEXT = 64 * 1024
"""Maximum characters of instructions."""
MAX_TOOLS = 128
MAX_TOOLS_CHARS = 128 * 1024
"""Maximum characters of all tools as JSON."""
MAX_OBJECT_CHARS = 16 * 1024
"""Maximum characters of a free-form JSON object, and of a description."""
MAX_NAME = 200
"""Maximum characters of a name."""

Name = Annotated[str, Field(max_length=MAX_NAME)]


def _check_object(value: dict[str, Any]) -> dict[str, Any]:
    try:
        length = len(json.dumps(value, allow_nan=False))
    except ValueError:
        raise ValueError("it contains a number that is not finite") from None
    if length > MAX_OBJECT_CHARS:
        raise ValueError(f"it has {length} characters; expected at most {MAX_OBJECT_CHARS}")
    return value


Object = Annotated[dict[str, Any], AfterValidator(_check_object)]
"""A free-form JSON object."""


class VoiceId(Part):
    """OpenAI's alternative form of a voice, an object with an id."""

    id: Name


class AudioOutput(Part):
    """`audio.output` of a call."""

    format: AudioFormat = Pcm(type="audio/pcm")
    voice: Name | VoiceId = ""
    speed: float = Field(default=1.0, ge=0.25, le=1.5, allow_inf_nan=False)

    @property
    def voice_name(self) -> str:
        """The name of the voice, in either form."""
        return self.voice if isinstance(self.voice, str) else self.voice.id


class Audio(Part):
    """`audio` of a call."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class Tool(Part):
    """A function that the client can call."""

    type: Literal["function"]
    name: Name
    description: Annotated[str, Field(max_length=MAX_OBJECT_CHARS)] | None = None
    parameters: Object | None = None

    @property
    def argument(self) -> str | None:
        """The name of the tool's only required argument if it is a free-text string, so that the
        tool can answer any question; otherwise None."""
        schema: dict[str, Any] = self.parameters or {}
        required, properties = schema.get("required"), schema.get("properties")
        if not isinstance(properties, dict) or not isinstance(required, list):
            return None
        match required:
            case [str(name)] if isinstance(found := properties.get(name), dict):
                return name if found.get("type") == "string" and "enum" not in found else None
            case _:
                return None


class ToolChoice(Part):
    """Selects one tool by name."""

    type: Literal["function"]
    name: Name


Choice = Literal["none", "auto", "required"] | ToolChoice


def _check_tools(value: list[Tool]) -> list[Tool]:
    if sum(len(tool.model_dump_json()) for tool in value) > MAX_TOOLS_CHARS:
        raise ValueError(f"expected at most {MAX_TOOLS_CHARS} characters of JSON for all tools")
    return value


Tools = Annotated[list[Tool], Field(max_length=MAX_TOOLS), AfterValidator(_check_tools)]


class CallConfig(Part):
    """The complete configuration of a call."""

    type: Literal["realtime"] = "realtime"
    model: Name | None = None
    audio: Audio = Audio()
    include: (
        Annotated[list[Literal["item.input_audio_transcription.logprobs"]], Field(max_length=1)]
        | None
    ) = None
    output_modalities: list[Literal["audio"]] = Field(default=["audio"], max_length=1)
    instructions: Annotated[str, Field(max_length=MAX_TEXT)] = ""
    tools: Tools = []
    tool_choice: Choice = "auto"
    max_output_tokens: int | Literal["inf"] = "inf"
    parallel_tool_calls: bool | None = None
    prompt: None = None
    reasoning: Object | None = None
    tracing: Literal["auto"] | Object | None = None
    truncation: Literal["auto", "disabled"] | Object | None = None

    @property
    def with_logprobs(self) -> bool:
        """Whether the client requested token log probabilities."""
        return bool(self.include)

    @property
    def creates_response(self) -> bool:
        """Whether the end of a turn starts a response automatically."""
        detection = self.audio.input.turn_detection
        return detection is not None and detection.create_response is not False

    @property
    def interrupts_response(self) -> bool:
        """Whether speech of the user interrupts a response."""
        detection = self.audio.input.turn_detection
        return detection is not None and detection.interrupt_response is not False

    @property
    def voice_options(self) -> VoiceOptions:
        """The model, voice and speed as options for `Voice`."""
        output = self.audio.output
        return VoiceOptions(self.model or "", output.voice_name, output.speed)

    def updated(self, changes: Mapping[str, Any], event_id: str | None) -> "CallConfig":
        """This configuration with `changes` merged in field by field. Raises InvalidEvent."""
        return with_changes(self, changes, event_id)


def answering_tool(tools: list[Tool], choice: Choice) -> Tool | None:
    """The tool that answers the user; None if there is none or `choice` forbids it."""
    if choice == "none":
        return None
    able = [tool for tool in tools if tool.argument]
    wanted = choice.name if isinstance(choice, ToolChoice) else CHAT_TOOL
    named = next((tool for tool in able if tool.name == wanted), None)
    if named or isinstance(choice, ToolChoice):
        return named
    return able[0] if able else None


def describe_call(config: CallConfig, session_id: str, until: int) -> dict[str, Any]:
    """The session object sent to clients; `until`: Unix time in seconds."""
    described = config.model_dump(exclude_none=True)
    described["audio"]["input"].setdefault("turn_detection", None)  # null means off
    described["audio"]["output"]["voice"] = config.audio.output.voice_name
    return {"id": session_id, "object": "realtime.session", "expires_at": until, **described}
