"""The chat completion that transcribes a recording: what VibeVoice-ASR was trained to be asked.

The texts are those that the model's own processor builds (microsoft/VibeVoice, `vllm_plugin`), to
the letter.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

SYSTEM_PROMPT = (
    "You are a helpful assistant that transcribes audio input into text output in JSON format."
)
KEYS = "Start time, End time, Speaker ID, Content"
MAX_TOKENS = 32_768
"""The model's own clients ask for this many at most."""
MAX_TOKENS_PER_SECOND = 100
"""Ten times the most seen in speech with many speakers: it only ends runaway decoding sooner."""
STREAM_INTERVAL = 8
"""Tokens in one message of the engine's stream. A token each would cost the engine's front end and
the proxy more than all the rest of a request; a segment comes at most seven tokens later so."""
LITERAL_PENALTIES_SECONDS = 300
"""Up to here the penalties hold as plain numbers. They count the JSON scaffold too and would break
it over a longer recording; an engine with our plugin applies its own to the words alone."""

_SPECIAL_TOKEN = re.compile(r"<\|[^<|>]*\|>")
_DATA_URL_END = ";base64,"


def extra_info(texts: list[str]) -> str:
    """Prompt, hotwords and keywords as one line without special tokens."""
    info = " ".join(", ".join(texts).split())
    while (stripped := _SPECIAL_TOKEN.sub("", info)) != info:
        info = stripped
    return info.strip(" ,")


def user_text(duration: float, info: str) -> str:
    """The text that follows the audio. `duration` in seconds; `info` may be empty."""
    if info:
        return (
            f"This is a {duration:.2f} seconds audio, with extra info: {info}\n\n"
            f"Please transcribe it with these keys: {KEYS}"
        )
    return f"This is a {duration:.2f} seconds audio, please transcribe it with these keys: {KEYS}"


def max_answer_tokens(duration: float) -> int:
    """The most tokens that a recording of `duration` seconds may take."""
    return min(MAX_TOKENS, 1024 + int(MAX_TOKENS_PER_SECOND * duration))


def pinned_decoding(duration: float, temperature: float = 0.0) -> dict[str, float]:
    """The sampling parameters of every transcription, whatever the client asks for.

    `temperature` is above 0 only to bring the model out of a loop; top_p goes with it as in the
    recovery of Microsoft's client (microsoft/VibeVoice, `test_api_auto_recover.py`).
    """
    penalties = (
        {"repetition_penalty": 1.1, "frequency_penalty": 0.5, "presence_penalty": 0.0}
        if duration <= LITERAL_PENALTIES_SECONDS
        else {"repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
    )
    warmer = {"top_p": 0.95} if temperature > 0 else {}
    return {"temperature": temperature, **warmer, **penalties}


@dataclass(frozen=True, slots=True)
class Attempt:
    """How the model is to go about a recording: as always, or going on after a loop."""

    max_tokens: int
    written: str = ""
    """What the model has written so far and is to continue; it ends with a whole segment."""
    temperature: float = 0.0


def chat_request(
    model: str, duration: float, info: str, media_type: str, attempt: Attempt
) -> tuple[bytes, bytes]:
    """The JSON body before and after the base64 of the audio."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": SYSTEM_PROMPT},
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
            **pinned_decoding(duration, attempt.temperature),
            **continued,
            "stream": True,
            "stream_interval": STREAM_INTERVAL,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
    )
    head, end, tail = body.partition(_DATA_URL_END)
    return (head + end).encode(), tail.encode()
