"""LiteLLM callback for VibeVoice: pinned decoding, hotwords in the prompt, no dead servers.

One file that needs nothing but LiteLLM: what it shares with `vibevoice_core` stands here again, and
`tests/test_contract.py` compares the two. It lies beside `config.yaml`, which names
`custom_callbacks.proxy_handler_instance`.
"""

import os
import random
import re
import time
from typing import Any

import httpx
from litellm.caching.dual_cache import DualCache
from litellm.exceptions import BadRequestError
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import UserAPIKeyAuth

CHAT = frozenset({"completion", "acompletion"})
"""What LiteLLM calls chat completions in `call_type`."""
PINNED = {
    "temperature": 0.0,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.0,
}
"""Decoding of VibeVoice-ASR: sampling makes it loop, and these penalties were measured by their
author to suppress loops at the end of recordings of about three minutes. An engine with the
project's plugin pins itself, with the penalties on the words alone, and takes these for said."""
NEUTRAL = {**PINNED, "repetition_penalty": 1.0, "frequency_penalty": 0.0}
"""Decoding of a recording longer than `PENALTIES_SECONDS`, and of every one where the operator has
switched the penalties off."""
SWITCH = "VIBEVOICE_PENALTIES"
"""The operator's setting, on or off."""
PENALTIES_SECONDS = 300
"""Plain penalties count the JSON around the words too, segment by segment. Beyond this length they
would break it in an engine without the project's plugin."""
WARMER_HEADER = "x-vibevoice-temperature"
"""By which the project's proxy makes an engine warmer, to leave a loop. Not for callers."""
REQUEST = "Please transcribe it with these keys: Start time, End time, Speaker ID, Content"
"""What the model is asked where the caller's message has no text."""
MAX_NESTED = 10
"""Special tokens inside one another that are removed from callers' words; deeper ones are split."""
UNREACHABLE_SECONDS = 30
"""How long a server that could not be reached gets no requests while others can."""

_SPECIAL_TOKEN = re.compile(r"<\|[^<|>]*\|>")
_DURATION = re.compile(r"This is a (\d+(?:\.\d+)?) seconds audio")
_REQUEST = re.compile(r"please transcribe", re.IGNORECASE)
_INFO = "with extra info:"


class VibeVoiceCallback(CustomLogger):
    """Called before each request, on each choice of a deployment and after each failure."""

    def __init__(self) -> None:
        super().__init__()
        self._penalties_seconds = penalties_seconds(os.environ.get(SWITCH) or "on")
        self._unreachable: dict[str, float] = {}
        """Deployment id → monotonic time until which it is left alone."""

    async def async_pre_call_hook(
        self,
        user_api_key_dict: UserAPIKeyAuth,
        cache: DualCache,
        data: dict[str, Any],
        call_type: str,
    ) -> dict[str, Any]:
        """Pin the decoding of a chat completion by VibeVoice; leave every other request alone.

        Transcriptions need nothing: LiteLLM hands `prompt` and `hotwords` on, and the proxy pins.

        Raises:
            BadRequestError: `prompt` or `hotwords` is neither text nor a list of texts.
        """
        if call_type not in CHAT or not serves_vibevoice(str(data.get("model"))):
            return data
        texts = [text for key in ("prompt", "hotwords") for text in words(data, key)]
        messages = [m for m in data.get("messages") or [] if isinstance(m, dict)]
        add_info(messages, one_line(texts))
        pin(data, duration(messages), self._penalties_seconds)
        return data

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Remember a deployment that could not be reached.

        LiteLLM cools no deployment down for that, and nothing is less busy than a dead server:
        least-busy routing would send it every request.
        """
        deployment = (kwargs.get("litellm_params", {}).get("model_info") or {}).get("id")
        if deployment and unreachable(kwargs.get("exception")):
            self._unreachable[str(deployment)] = time.monotonic() + UNREACHABLE_SECONDS

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[dict[str, Any]],
        messages: list[Any] | None,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[dict[str, Any]]:
        """The deployments that can be reached and have not failed this request yet, in any order.

        Where that leaves none, those that can be reached, else all. Among equally busy ones
        LiteLLM takes the first, so that in a fixed order a burst would go to one server.
        """
        now = time.monotonic()
        self._unreachable = {key: end for key, end in self._unreachable.items() if end > now}
        ids = {str(deployment["model_info"]["id"]) for deployment in healthy_deployments}
        reachable = ids - self._unreachable.keys()
        chosen = (reachable - failed(request_kwargs or {})) or reachable or ids
        left = [d for d in healthy_deployments if str(d["model_info"]["id"]) in chosen]
        return random.sample(left, len(left))


def unreachable(exception: BaseException | None) -> bool:
    """Whether a failure is that of a connection that never came to be."""
    while exception is not None:
        if isinstance(exception, httpx.ConnectError | httpx.ConnectTimeout):
            return True
        exception = exception.__cause__ or exception.__context__
    return False


def failed(request: dict[str, Any]) -> set[str]:
    """The ids of the deployments that LiteLLM has tried this request on."""
    metadata = request.get("litellm_metadata") or request.get("metadata") or {}
    attempts = metadata.get("previous_models") or ()
    return {str(attempt.get("deployment_id")) for attempt in attempts if isinstance(attempt, dict)}


def serves_vibevoice(group: str) -> bool:
    """Whether a model group, or what its deployments serve, is called VibeVoice."""
    from litellm.proxy.proxy_server import llm_router  # exists once the proxy has started

    deployments = (llm_router and llm_router.get_model_list(model_name=group)) or []
    names = [group, *(str(deployment["litellm_params"].get("model")) for deployment in deployments)]
    return any("vibevoice" in name.lower() for name in names)


def words(data: dict[str, Any], key: str) -> list[str]:
    """Take the texts under `key` out of the request: the engine does not know it in a chat."""
    value = data.pop(key, None) or []
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequestError(
            message=f"{key} must be a text or a list of texts.",
            model=str(data.get("model")),
            llm_provider="vibevoice",
        )
    return texts


def one_line(texts: list[str]) -> str:
    """Texts as one line that holds no special token; it may be empty.

    The same as `vibevoice_core.prompt.clean_words`.
    """
    line = " ".join(", ".join(texts).split())
    for _ in range(MAX_NESTED):
        line = _SPECIAL_TOKEN.sub("", line)
    return " ".join(line.replace("<|", "< |").split()).strip(" ,")


def text_parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The text parts of a message whose content is a list."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def add_info(messages: list[dict[str, Any]], line: str) -> None:
    """Put `line` into the last message of the user, where the model was trained to find it."""
    message = next((m for m in reversed(messages) if m.get("role") == "user"), None)
    if not line or message is None:
        return
    if isinstance(content := message.get("content"), str):
        message["content"] = with_info(content, line)
    elif parts := text_parts(message):
        parts[-1]["text"] = with_info(parts[-1]["text"], line)
    elif isinstance(content, list):
        content.append({"type": "text", "text": with_info("", line)})


def with_info(text: str, line: str) -> str:
    """The user's text with `line` as "extra info", as the model's own processor writes it."""
    text = text or REQUEST
    if (request := _REQUEST.search(text)) is None:
        return f"with extra info: {line}\n\n{text}"
    before, after = text[: request.start()], text[request.end() :]
    before = f"{before.rstrip()}, " if _INFO in before else f"{before}{_INFO} "
    return f"{before}{line}\n\nPlease transcribe{after}"


def penalties_seconds(switch: str) -> float:
    """Up to which length a recording is decoded with penalties; below 0 for none.

    Raises:
        ValueError: `switch` is neither on nor off.
    """
    if switch not in ("on", "off"):
        raise ValueError(f"{SWITCH} must be on or off, got {switch!r}.")
    return PENALTIES_SECONDS if switch == "on" else -1


def pin(data: dict[str, Any], seconds: float, limit: float) -> None:
    """Overwrite the four values, and take away every other way to change them.

    Args:
        seconds: length of the recording, 0 if unknown.
        limit: up to which length there are penalties.
    """
    values = PINNED if seconds <= limit else NEUTRAL
    data.update(values)
    data.pop("additional_drop_params", None)
    warmer = {WARMER_HEADER}
    hidden = {"extra_body": set(values), "extra_headers": warmer, "headers": warmer}
    for key, names in hidden.items():
        if isinstance(given := data.get(key), dict):
            data[key] = {name: given[name] for name in given if name.lower() not in names}


def duration(messages: list[dict[str, Any]]) -> float:
    """Seconds of audio as the user's text tells the model; 0 where it does not."""
    texts = [
        text
        for message in messages
        for text in (message.get("content"), *(part["text"] for part in text_parts(message)))
        if isinstance(text, str)
    ]
    return max((float(m[1]) for text in texts for m in _DURATION.finditer(text)), default=0.0)


proxy_handler_instance = VibeVoiceCallback()
