"""Moonshine's tokens as text."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_BYTE = re.compile(rb"<0x([0-9A-F]{2})>")
_CONTROL = re.compile(rb"<[^<>]*>")
_SPACE = "▁".encode()


class Tokenizer:
    """The texts of a vocabulary: SentencePiece's, in which `▁` stands for a space."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        """`pieces`: the UTF-8 of each token, which may be a part of a character."""
        self._pieces = pieces

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """The vocabulary in `folder`: Moonshine's `tokenizer.bin` or Hugging Face's
        `tokenizer.json`. Raises FileNotFoundError where neither is there."""
        binary = folder / "tokenizer.bin"
        if binary.is_file():
            return cls(_unpacked(binary.read_bytes()))
        return cls(_listed(json.loads((folder / "tokenizer.json").read_text("utf-8"))))

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of `tokens` without control tokens such as `</s>`."""
        joined = b"".join(map(self._piece, tokens))
        return joined.replace(_SPACE, b" ").decode("utf-8", "ignore").strip()

    def text_of(self, token: int) -> str:
        """The text of one token with its space; what is not whole characters is left out."""
        return self._piece(token).replace(_SPACE, b" ").decode("utf-8", "ignore")

    def _piece(self, token: int) -> bytes:
        piece = self._pieces[token] if token < len(self._pieces) else b""
        if byte := _BYTE.fullmatch(piece):
            return bytes([int(byte[1], 16)])
        return b"" if _CONTROL.fullmatch(piece) else piece


def _unpacked(data: bytes) -> list[bytes]:
    """Moonshine's own format: the length of each piece, in one byte, or from 128 on in two with the
    low seven bits first, then its UTF-8."""
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
