"""Builds the chat completion request that transcribes a section."""

import json
from dataclasses import dataclass
from typing import Any

from vibevoice_core.penalties import LITERAL_SECONDS, PINNED, TEMPERATURE, WARM_TOP_P, Penalties
from vibevoice_core.prompt import SYSTEM, user_text

MAX_TOKENS = 32_768
"""The limit that the model's own clients use."""
MAX_TOKENS_PER_SECOND = 100
"""Ten times the maximum seen in speech with many speakers; only stops runaway decoding sooner."""
STREAM_INTERVAL = 8
"""Tokens per message in the engine's stream. One message per token would cost the engine's front
end and the proxy more than the rest of the request. This delays a segment by at most 7 tokens."""

_DATA_URL_END = ";base64,"


def max_answer_tokens(duration: float) -> int:
    """The maximum number of tokens for a recording of `duration` seconds."""
    return min(MAX_TOKENS, 1024 + int(MAX_TOKENS_PER_SECOND * duration))


def pinned_decoding(
    duration: float, temperature: float = TEMPERATURE, penalties: Penalties = PINNED
) -> dict[str, float]:
    """The sampling parameters of every transcription, regardless of what the client requests.

    `duration`: in seconds; in long recordings, plain penalties would break the JSON, so none are
    sent (an engine with our plugin applies its own, only to the words). `temperature`: above 0 only
    to get the model out of a loop. `penalties`: as configured by the operator.
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
    """Parameters of one attempt at a recording: the first, or a continuation after a loop."""

    max_tokens: int
    written: str = ""
    """The model's text so far, which it should continue; ends with a complete segment."""
    temperature: float = TEMPERATURE


def chat_request(
    model: str,
    duration: float,
    info: str,
    media_type: str,
    attempt: Attempt,
    penalties: Penalties = PINNED,
) -> tuple[bytes, bytes]:
    """The parts of the JSON body before and after the base64 audio."""
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
