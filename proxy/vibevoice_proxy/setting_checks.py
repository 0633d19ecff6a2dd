"""Validators for settings whose values a plain type cannot describe."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, HttpUrl, SecretStr, TypeAdapter
from pydantic_settings import NoDecode

from vibevoice_light import ModelFilesMissing, find_moonshine

_HOST_NAME = re.compile(r"(?!(?:.*\.)?\d+\Z)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?")
"""The last label of a name must not be a number: that would be an incomplete address."""
_CLIENT_KEY = re.compile(r"[\x21-\x7e]+")
LIGHT = "light"
"""Name of the light recognizer's model and of its component in /health."""
REAL_BYTES = 1024**3
"""Weights of at least this size are a real VibeVoice-ASR (17 GB); the embedded checkpoint has 12
MB."""
_SENT_KEY = re.compile(r"[\x20-\x7e]*")


def split(value: Any) -> Any:
    """Split a comma-separated list from the environment."""
    if isinstance(value, str):
        return tuple(name for part in value.split(",") if (name := part.strip()))
    return value


def normalize_host(value: str) -> str:
    """An address to listen on, without the brackets of `[::1]`; empty means all addresses. Raises
    ValueError if it is neither an address nor a name."""
    host = value.strip()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or _HOST_NAME.fullmatch(host):
        return host
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(
            "expected an address such as 127.0.0.1 or ::1, or a host name, without scheme and "
            "port; empty means all addresses"
        ) from None
    return host


def check_url(value: str) -> str:
    """A base URL without a final slash; empty means none. Raises ValueError if it is not a URL."""
    if value:
        TypeAdapter(HttpUrl).validate_python(value)
    return value.rstrip("/")


def check_client_key(key: str, place: str) -> None:
    """Raises ValueError if not every client can send `key`. The message names the `place` of the
    key, never the key itself."""
    if not _CLIENT_KEY.fullmatch(key):
        raise ValueError(
            f"{place} contains a space or a non-ASCII character, which not every client can send "
            "in a header"
        )


def names_real_engine(asr_api: str, asr_base_url: str, model_dir: str) -> bool:
    """Whether these settings name a real VibeVoice-ASR or another server, or disable the engine."""
    if asr_api != "chat":
        return True
    if not model_dir:
        return bool(asr_base_url)
    folder = Path(model_dir)
    if not folder.is_dir():
        return True  # the name of a model on the hub
    for checkpoint in (folder, folder / "VibeVoice-ASR"):
        if weights := list(checkpoint.glob("*.safetensors")):
            return sum(file.stat().st_size for file in weights) >= REAL_BYTES
    return bool(asr_base_url)


def check_light(light: str, folder: str, served_model_name: str) -> None:
    """Raises ValueError if the light recognizer, which is used, must have the model's files and has
    not, or if the engine's model has its name. Without a `folder` of the operator's own, `auto`
    starts without files."""
    if served_model_name == LIGHT:
        raise ValueError(
            f"VIBEVOICE_SERVED_MODEL_NAME: {LIGHT!r} is the name of the light recognizer's model; "
            "use another name, or set VIBEVOICE_LIGHT=off"
        )
    if folder or light == "on":
        try:
            find_moonshine(folder)
        except ModelFilesMissing as error:
            place = "VIBEVOICE_LIGHT_MODELS: " if folder else ""
            raise ValueError(f"{place}{error}") from None


def _split_keys(value: Any) -> Any:
    """Reject a value of only commas: keys were intended, and without any the server is open."""
    keys = split(value)
    if isinstance(value, str) and value and not keys:
        raise ValueError("it contains no key; leave it empty to disable authentication")
    return keys


def _check_client_keys(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for number, key in enumerate(keys, 1):
        check_client_key(key.get_secret_value(), f"key {number}")
    return keys


def _check_sent_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value().strip()
    if not _SENT_KEY.fullmatch(text):
        raise ValueError("it contains a character that is not allowed in a header")
    return SecretStr(text)


Host = Annotated[str, AfterValidator(normalize_host)]
BaseUrl = Annotated[str, AfterValidator(check_url)]
ClientKeys = Annotated[
    tuple[SecretStr, ...],
    NoDecode,
    BeforeValidator(_split_keys),
    AfterValidator(_check_client_keys),
]
"""Keys that clients send."""
SentKey = Annotated[SecretStr, AfterValidator(_check_sent_key)]
"""A key that this server sends."""
