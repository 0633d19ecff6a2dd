"""Converts Moonshine's tokens to text."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_BYTE = re.compile(rb"<0x([0-9A-F]{2})>")
_CONTROL = re.compile(rb"<[^<>]*>")
_SPACE = "▁".encode()


class Tokenizer:
    """A SentencePiece vocabulary, in which `▁` represents a space."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """`pieces`: the UTF-8 bytes of each token, which may be part of a character."""
        self._pieces = pieces

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Load the vocabulary in `folder`: Moonshine's `tokenizer.bin` or Hugging Face's
        `tokenizer.json`. Raises FileNotFoundError if neither exists."""
        binary = folder / "tokenizer.bin"
        if binary.is_file():
            return cls(_unpacked(binary.read_bytes()))
        return cls(_listed(json.loads((folder / "tokenizer.json").read_text("utf-8"))))

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of `tokens` without control tokens such as `</s>`."""
        joined = b"".join(map(self._piece, tokens))
        return joined.replace(_SPACE, b" ").decode("utf-8", "ignore").strip()

    def text_of(self, token: int) -> str:
        """The text of one token including its space; incomplete characters are left out."""
        return self._piece(token).replace(_SPACE, b" ").decode("utf-8", "ignore")

    def _piece(self, token: int) -> bytes:
        piece = self._pieces[token] if token < len(self._pieces) else b""
        if byte := _BYTE.fullmatch(piece):
            return bytes([int(byte[1], 16)])
        return b"" if _CONTROL.fullmatch(piece) else piece


def _unpacked(data: bytes) -> list[bytes]:
    """Parse Moonshine's own format: the length of each piece (one byte; from 128 on two bytes, with
    the low seven bits first), followed by its UTF-8 bytes."""
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        length = data[at]
        at += 1
        if length >= 128:
            length += 128 * data[at] - 128
            at += 1
        pieces.append(data[at : at + length])
        at += length
    return pieces


def _listed(tokenizer: dict[str, Any]) -> list[bytes]:
    ids: dict[str, int] = dict(tokenizer["model"]["vocab"])
    ids.update({token["content"]: token["id"] for token in tokenizer.get("added_tokens", ())})
    pieces = [b""] * (max(ids.values()) + 1)
    for piece, number in ids.items():
        pieces[number] = piece.encode()
    return pieces
