"""LiteLLM callback for VibeVoice: pins decoding, adds hotwords to the prompt, skips dead servers.

A single file that needs only LiteLLM. It duplicates what it shares with `vibevoice_core`, and
`tests/test_contract.py` compares the two. It must be next to `config.yaml`, which refers to
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
"""LiteLLM's `call_type` values for chat completions."""
PINNED = {
    "temperature": 0.0,
    "repetition_penalty": 1.1,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.0,
}
"""Decoding of VibeVoice-ASR: sampling makes it loop, and these penalties were found by their author
to suppress loops at the end of recordings of about three minutes. An engine with this project's
plugin ignores these values and pins its own, with penalties that apply only to the words."""
NEUTRAL = {**PINNED, "repetition_penalty": 1.0, "frequency_penalty": 0.0}
"""Decoding settings for a recording longer than `PENALTIES_SECONDS`, and for all recordings if the
operator has turned the penalties off."""
SWITCH = "VIBEVOICE_PENALTIES"
"""The operator's setting: on or off."""
PENALTIES_SECONDS = 300
"""Plain penalties also count the JSON around the words, in every segment. Beyond this length they
would break it in an engine without this project's plugin."""
WARMER_HEADER = "x-vibevoice-temperature"
"""Header with which the project's proxy raises the temperature to leave a loop; not for callers."""
REQUEST = "Please transcribe it with these keys: Start time, End time, Speaker ID, Content"
"""The prompt if the caller's message has no text."""
MAX_NESTED = 10
"""Maximum nesting depth of special tokens removed from callers' words; deeper ones are split."""
UNREACHABLE_SECONDS = 30
"""How long a server that could not be reached gets no requests while others are available."""

_SPECIAL_TOKEN = re.compile(r"<\|[^<|>]*\|>")
_DURATION = re.compile(r"This is a (\d+(?:\.\d+)?) seconds audio")
_REQUEST = re.compile(r"please transcribe", re.IGNORECASE)
_INFO = "with extra info:"


class VibeVoiceCallback(CustomLogger):
    """LiteLLM's hooks before each request, for each choice of a deployment, and after each
    failure."""

    def __init__(self) -> None:
        super().__init__()
        self._penalties_seconds = penalties_seconds(os.environ.get(SWITCH) or "on")
        self._unreachable: dict[str, float] = {}
        """Deployment id → monotonic time until which it gets no requests."""

    async def async_pre_call_hook(
        self,
        user_api_key_dict: UserAPIKeyAuth,
        cache: DualCache,
        data: dict[str, Any],
        call_type: str,
    ) -> dict[str, Any]:
        """Pin the decoding of VibeVoice chat completions; leave all other requests unchanged.

        Transcriptions need no change: LiteLLM forwards `prompt` and `hotwords`, and the proxy pins.

        Raises:
            BadRequestError: `prompt` or `hotwords` is neither a string nor a list of strings.
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
        """For a while, skip a deployment that could not be reached. LiteLLM does not cool down such
        a deployment. Since a dead server is never busy, least-busy routing would send it every
        request.
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
        """The deployments that can be reached and have not failed this request yet, shuffled.

        If there are none, those that can be reached, or else all. LiteLLM takes the first of the
        least busy ones, so without shuffling a burst would go to one server.
        """
        now = time.monotonic()
        self._unreachable = {key: end for key, end in self._unreachable.items() if end > now}
        ids = {str(deployment["model_info"]["id"]) for deployment in healthy_deployments}
        reachable = ids - self._unreachable.keys()
        chosen = (reachable - failed(request_kwargs or {})) or reachable or ids
        left = [d for d in healthy_deployments if str(d["model_info"]["id"]) in chosen]
        return random.sample(left, len(left))


def unreachable(exception: BaseException | None) -> bool:
    """Whether the request failed because no connection could be established."""
    while exception is not None:
        if isinstance(exception, httpx.ConnectError | httpx.ConnectTimeout):
            return True
        exception = exception.__cause__ or exception.__context__
    return False


def failed(request: dict[str, Any]) -> set[str]:
    """The ids of the deployments on which LiteLLM has tried this request."""
    metadata = request.get("litellm_metadata") or request.get("metadata") or {}
    attempts = metadata.get("previous_models") or ()
    return {str(attempt.get("deployment_id")) for attempt in attempts if isinstance(attempt, dict)}


def serves_vibevoice(group: str) -> bool:
    """Whether the name of a model group, or of a model it serves, contains VibeVoice."""
    from litellm.proxy.proxy_server import llm_router  # exists once the proxy has started

    deployments = (llm_router and llm_router.get_model_list(model_name=group)) or []
    names = [group, *(str(deployment["litellm_params"].get("model")) for deployment in deployments)]
    return any("vibevoice" in name.lower() for name in names)


def words(data: dict[str, Any], key: str) -> list[str]:
    """Remove `key` from the request and return its strings: in a chat, the engine ignores it."""
    value = data.pop(key, None) or []
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequestError(
            message=f"{key} must be a string or a list of strings.",
            model=str(data.get("model")),
            llm_provider="vibevoice",
        )
    return texts


def one_line(texts: list[str]) -> str:
    """The strings as one line without special tokens; may be empty.

    Same as `vibevoice_core.prompt.clean_words`.
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
    """Add `line` to the last user message, in the form on which the model was trained."""
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
    """The user's text with `line` as "extra info", in the format of the model's own processor."""
    text = text or REQUEST
    if (request := _REQUEST.search(text)) is None:
        return f"with extra info: {line}\n\n{text}"
    before, after = text[: request.start()], text[request.end() :]
    before = f"{before.rstrip()}, " if _INFO in before else f"{before}{_INFO} "
    return f"{before}{line}\n\nPlease transcribe{after}"


def penalties_seconds(switch: str) -> float:
    """Maximum length of a recording that is decoded with penalties; negative for none.

    Raises:
        ValueError: `switch` is neither on nor off.
    """
    if switch not in ("on", "off"):
        raise ValueError(f"{SWITCH} must be on or off, got {switch!r}.")
    return PENALTIES_SECONDS if switch == "on" else -1


def pin(data: dict[str, Any], seconds: float, limit: float) -> None:
    """Overwrite the four values and remove every other parameter that could change decoding.

    Args:
        seconds: length of the recording; 0 if unknown.
        limit: maximum length for which penalties apply.
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
    """Seconds of audio according to the user's text; 0 if it does not say."""
    texts = [
        text
        for message in messages
        for text in (message.get("content"), *(part["text"] for part in text_parts(message)))
        if isinstance(text, str)
    ]
    return max((float(m[1]) for text in texts for m in _DURATION.finditer(text)), default=0.0)


proxy_handler_instance = VibeVoiceCallback()
