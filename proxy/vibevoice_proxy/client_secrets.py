"""Short-lived keys for browsers. They only open realtime sessions."""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from time import time
from typing import Any

from pydantic import BaseModel

PREFIX = "ek_"
_SALT = b"vibevoice client secret"
"""Constant, because replicas with the same API keys must produce the same signatures."""
_N, _R, _P = 2**14, 8, 5
"""scrypt parameters: 16 MiB, computed once at startup (OWASP's Password Storage Cheat Sheet)."""


class _Payload(BaseModel):
    """The payload of a secret."""

    session: dict[str, Any]
    expires_at: int


class ClientSecrets:
    """Signs secrets instead of storing them. Every process with the same API keys can verify them;
    changing the keys invalidates them."""

    def __init__(self, keys: Iterable[str]) -> None:
        """`keys`: the API keys. If they are empty, the signing key is public: access is open
        anyway, and secrets must be valid in every replica."""
        known = "\n".join(sorted(keys)).encode()
        self._key = _derive(known) if known else bytes(32)

    def issue(self, session: Mapping[str, Any], expires_at: int) -> str:
        """Create a secret for sessions with the initial configuration `session`, valid until
        `expires_at` (Unix time in seconds)."""
        payload = {"session": session, "expires_at": expires_at, "nonce": secrets.token_hex(8)}
        text = _encode(json.dumps(payload, separators=(",", ":")).encode())
        return f"{PREFIX}{text}.{_encode(self._sign(text))}"

    def read(self, value: str) -> Mapping[str, Any] | None:
        """Verify a secret and return its configuration; None if it is invalid or has expired."""
        text, _, signature = value.removeprefix(PREFIX).partition(".")
        expected = _encode(self._sign(text))
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            return None
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            payload = _Payload.model_validate_json(data)
        except ValueError:  # not our JSON: a client signed it with the public key
            return None
        return payload.session if payload.expires_at > time() else None

    def _sign(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), hashlib.sha256)


def _derive(keys: bytes) -> bytes:
    """Derive the signing key. Anyone with a secret can test guessed API keys against its signature,
    so each guess must be expensive."""
    return hashlib.scrypt(keys, salt=_SALT, n=_N, r=_R, p=_P, dklen=32)


def _encode(data: bytes) -> str:
    """Encode `data` in base64 with characters allowed in a WebSocket subprotocol."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
