"""The chat completion with which the engine transcribes a section."""

import json
from dataclasses import dataclass
from typing import Any

from vibevoice_core.penalties import LITERAL_SECONDS, PINNED, TEMPERATURE, WARM_TOP_P, Penalties
from vibevoice_core.prompt import SYSTEM, user_text

MAX_TOKENS = 32_768
"""The model's own clients ask for this many at most."""
MAX_TOKENS_PER_SECOND = 100
"""Ten times the most seen in speech with many speakers: it only ends runaway decoding sooner."""
STREAM_INTERVAL = 8
"""Tokens in one message of the engine's stream. A token each would cost the engine's front end and
the proxy more than all the rest of a request; a segment comes at most seven tokens later so."""

_DATA_URL_END = ";base64,"


def max_answer_tokens(duration: float) -> int:
    """The most tokens that a recording of `duration` seconds may take."""
    return min(MAX_TOKENS, 1024 + int(MAX_TOKENS_PER_SECOND * duration))


def pinned_decoding(
    duration: float, temperature: float = TEMPERATURE, penalties: Penalties = PINNED
) -> dict[str, float]:
    """The sampling parameters of every transcription, whatever the client asks for.

    `duration` in seconds: over a long recording plain penalties would break the JSON; an engine
    with our plugin applies its own to the words alone. `temperature` is above 0 only to bring the
    model out of a loop. `penalties` are those that the operator wants.
    """
    if duration > LITERAL_SECONDS:
        penalties = Penalties()
    warmer = {"top_p": WARM_TOP_P} if temperature > 0 else {}
    return {
        "temperature": temperature,
        **warmer,
        "repetition_penalty": penalties.repetition,
        "frequency_penalty": penalties.frequency,
        "presence_penalty": penalties.presence,
    }


@dataclass(frozen=True, slots=True)
class Attempt:
    """How the model is to go about a recording: as always, or going on after a loop."""

    max_tokens: int
    written: str = ""
    """What the model has written so far and is to continue; it ends with a whole segment."""
    temperature: float = TEMPERATURE


def chat_request(
    model: str,
    duration: float,
    info: str,
    media_type: str,
    attempt: Attempt,
    penalties: Penalties = PINNED,
) -> tuple[bytes, bytes]:
    """The JSON body before and after the base64 of the audio."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": SYSTEM},
        {
            "role": "user",
            "content": [
                {"type": "audio_url", "audio_url": {"url": f"data:{media_type}{_DATA_URL_END}"}},
                {"type": "text", "text": user_text(duration, info)},
            ],
        },
    ]
    continued: dict[str, bool] = {}
    if attempt.written:
        messages.append({"role": "assistant", "content": attempt.written})
        continued = {"continue_final_message": True, "add_generation_prompt": False}
    body = json.dumps(
        {
            "model": model,
            "messages": messages,
            "max_tokens": attempt.max_tokens,
            **pinned_decoding(duration, attempt.temperature, penalties),
            **continued,
            "stream": True,
            "stream_interval": STREAM_INTERVAL,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
    )
    head, end, tail = body.partition(_DATA_URL_END)
    return (head + end).encode(), tail.encode()
