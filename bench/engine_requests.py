"""Sends timed, streamed requests directly to an engine, with as little client work as possible."""

import base64
import json
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from vibevoice_core.prompt import SYSTEM, user_text


class OutOfTime(Exception):
    """The time limit of a benchmark is reached."""


class EngineRefused(Exception):
    """The engine returned an error or an incomplete response."""


_DAY = 86_400.0


def seconds_left(until: float) -> float:
    """Seconds until `until` (`time.monotonic()`), for use as a timeout: never zero, and a day if
    there is no limit."""
    return min(max(until - time.monotonic(), 0.01), _DAY)


class Answer(NamedTuple):
    """How fast a request was answered."""

    first: float
    """Seconds from sending to the first token."""
    seconds: float
    """Seconds from sending to the last token."""
    tokens: int
    prompt_tokens: int

    @property
    def token_seconds(self) -> float:
        """Seconds per token, after the first."""
        return (self.seconds - self.first) / max(self.tokens - 1, 1)


def transcription(audio: bytes, seconds: float, tokens: int = 0) -> dict[str, Any]:
    """The body of a chat completion for a recording in any format.

    Args:
        tokens: exact number of tokens of the answer, whatever the weights; 0 lets the model decide.
    """
    url = "data:audio/wav;base64," + base64.b64encode(audio).decode()
    content = [
        {"type": "audio_url", "audio_url": {"url": url}},
        {"type": "text", "text": user_text(seconds)},
    ]
    return {
        "model": "vibevoice",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}],
        "temperature": 0,
        **({"max_tokens": tokens, "ignore_eos": True} if tokens else {}),
    }


def events(engine: str, body: dict[str, Any], until: float) -> Iterator[bytes]:
    """The JSON texts of a streamed chat completion as they arrive.

    Args:
        engine: base URL.
        until: `time.monotonic()` at which to give up.

    Raises:
        EngineRefused: with the engine's message.
        OutOfTime: also while waiting for the next text.
    """
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = {**body, "stream": True, "stream_options": options}
    address = urlsplit(engine).netloc
    connection = HTTPConnection(address, timeout=seconds_left(until))
    headers = {"content-type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise EngineRefused(f"{response.status} {response.read(500).decode(errors='replace')}")
        for line in response:
            if time.monotonic() > until:
                raise OutOfTime
            if line.startswith(b"data: {"):
                yield line.removeprefix(b"data: ")
    except TimeoutError as error:
        raise OutOfTime from error
    except HTTPException as error:
        raise EngineRefused(f"the connection broke: {error!r}") from error
    finally:
        connection.close()


def ask(engine: str, body: dict[str, Any], until: float) -> Answer:
    """Time one request; raises the same errors as `events`."""
    started = time.monotonic()
    first, last = 0.0, b"{}"
    for event in events(engine, body, until):
        first, last = first or time.monotonic() - started, event
    seconds = time.monotonic() - started
    message = json.loads(last)
    if message.get("choices") != []:
        raise EngineRefused(f"the stream ended early, with {last[:500].decode(errors='replace')}")
    usage = message["usage"]
    return Answer(first, seconds, usage["completion_tokens"], usage["prompt_tokens"])
