"""What the values of settings have to be, where a plain type does not tell it."""

import re
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode

_HOST_NAME = re.compile(r"(?!(?:.*\.)?\d+\Z)[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?")
"""The last part of a name is no number: that would be half an address."""
_CLIENT_KEY = re.compile(r"[\x21-\x7e]+")
_SENT_KEY = re.compile(r"[\x20-\x7e]*")


def split(value: Any) -> Any:
    """The items of a list as one writes it in the environment, between commas."""
    if isinstance(value, str):
        return tuple(name for part in value.split(",") if (name := part.strip()))
    return value


def normalize_host(value: str) -> str:
    """An address to listen on, as the system takes it: without the brackets of `[::1]`; empty means
    all. Raises ValueError for what is neither an address nor a name."""
    host = value.strip()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or _HOST_NAME.fullmatch(host):
        return host
    try:
        ip_address(host)
    except ValueError:
        raise ValueError(
            "expected an address such as 127.0.0.1 or ::1, or the name of a host, without scheme "
            "and port; empty means all addresses"
        ) from None
    return host


def check_client_key(key: str, place: str) -> None:
    """Raises ValueError when no client can send `key`. Its message names the `place` of the key,
    never the key."""
    if not _CLIENT_KEY.fullmatch(key):
        raise ValueError(
            f"{place} has a space, or a character beyond ASCII, which not every client can put in "
            "a header"
        )


def _split_keys(value: Any) -> Any:
    """Commas alone are keys that somebody meant to set: without them the server would be open."""
    keys = split(value)
    if isinstance(value, str) and value and not keys:
        raise ValueError("it holds no key; leave it empty where anybody may call")
    return keys


def _check_client_keys(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    for number, key in enumerate(keys, 1):
        check_client_key(key.get_secret_value(), f"key {number}")
    return keys


def _check_sent_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value().strip()
    if not _SENT_KEY.fullmatch(text):
        raise ValueError("it has a character that no header can carry")
    return SecretStr(text)


Host = Annotated[str, AfterValidator(normalize_host)]
ClientKeys = Annotated[
    tuple[SecretStr, ...],
    NoDecode,
    BeforeValidator(_split_keys),
    AfterValidator(_check_client_keys),
]
"""Keys that clients send."""
SentKey = Annotated[SecretStr, AfterValidator(_check_sent_key)]
"""A key that this server sends."""
