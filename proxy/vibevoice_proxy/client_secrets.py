"""Short-lived keys that a browser can be given: they open realtime sessions and nothing else."""

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
"""The same everywhere, since replicas with the same API keys must sign alike."""
_N, _R, _P = 2**14, 8, 5
"""Cost of scrypt: 16 MiB, once at the start (OWASP's Password Storage Cheat Sheet)."""


class _Payload(BaseModel):
    """What a secret holds."""

    session: dict[str, Any]
    expires_at: int


class ClientSecrets:
    """Signs secrets instead of keeping them: every process with the same API keys knows them, and
    they end with those keys."""

    def __init__(self, keys: Iterable[str]) -> None:
        """`keys` are the API keys. Without any, the signing key is public: a secret then opens
        nothing that is closed, and must be valid in every replica."""
        known = "\n".join(sorted(keys)).encode()
        self._key = _derive(known) if known else bytes(32)

    def issue(self, session: Mapping[str, Any], expires_at: int) -> str:
        """A secret for sessions that begin with the configuration `session`, until `expires_at`, in
        Unix seconds."""
        payload = {"session": session, "expires_at": expires_at, "nonce": secrets.token_hex(8)}
        text = _encode(json.dumps(payload, separators=(",", ":")).encode())
        return f"{PREFIX}{text}.{_encode(self._sign(text))}"

    def read(self, value: str) -> Mapping[str, Any] | None:
        """The configuration of a secret; None if it is not ours or has expired."""
        text, _, signature = value.removeprefix(PREFIX).partition(".")
        expected = _encode(self._sign(text))
        if not hmac.compare_digest(signature.encode(), expected.encode()):
            return None
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            payload = _Payload.model_validate_json(data)
        except ValueError:  # not JSON of ours: a client signed it with the public key
            return None
        return payload.session if payload.expires_at > time() else None

    def _sign(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), hashlib.sha256)


def _derive(keys: bytes) -> bytes:
    """The signing key. Whoever has a secret can check guesses of the API keys against its
    signature, so each guess has to be expensive."""
    return hashlib.scrypt(keys, salt=_SALT, n=_N, r=_R, p=_P, dklen=32)


def _encode(data: bytes) -> str:
    """Base64 as a WebSocket's subprotocol may have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
