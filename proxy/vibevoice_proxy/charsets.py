"""Decodes text that clients send: detects the charset and handles lone surrogates."""

import codecs
import re

_NO_CHARSETS = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
)
"""Python-specific text encodings that no client would mean."""
_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^"';,\s]+)""", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks; the first match wins."""


class UndecodableText(ValueError):
    """Bytes are not valid text in their charset."""

    def __init__(self, reason: str, at: int) -> None:
        """`reason`: completes "The body is ". `at`: the byte offset, from 0."""
        super().__init__(reason)
        self.at = at


def charset_of(content_type: str) -> str:
    """The charset that a Content-Type declares; empty if it declares none."""
    match = _CHARSET.search(content_type)
    return match[1] if match else ""


def codec_of(charset: str) -> str:
    """Python's name for `charset`: utf-8 if it is empty or ASCII, empty if it is unknown."""
    if not charset:
        return "utf-8"
    try:
        name = codecs.lookup(charset).name
        "".encode(name)  # LookupError for codecs that do not encode text, such as zlib
    except (LookupError, ValueError):
        return ""
    if name.replace("_", "-") in _NO_CHARSETS:
        return ""
    return "utf-8" if name == "ascii" else name


def marked_codec(data: bytes) -> str:
    """The codec indicated by a byte order mark at the start of `data`; empty without one."""
    return next((codec for mark, codec in _MARKS if data.startswith(mark)), "")


def is_wide(codec: str) -> bool:
    """Whether `codec` encodes each ASCII character as several bytes."""
    return codec.startswith(("utf-16", "utf-32"))


def decode_text(data: bytes, charset: str = "") -> str:
    """Decode `data` in the declared `charset`, or as its byte order mark indicates.

    Surrogate pairs are combined, and lone surrogates are dropped. Raises UndecodableText.
    """
    codec = marked_codec(data) or codec_of(charset) or "utf-8"
    skipped = 0
    if data.startswith(codecs.BOM_UTF8):
        codec, skipped = "utf-8", len(codecs.BOM_UTF8)
    elif codec == "utf-16" and not marked_codec(data):
        codec = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    errors = "surrogatepass" if codec.startswith("utf-") else "strict"
    try:
        return whole_characters(data[skipped:].decode(codec, errors))
    except UnicodeDecodeError as error:
        at = error.start + skipped
        reason = f"not valid {_shown(codec, charset)} at byte {at} (0x{data[at]:02x})"
        raise UndecodableText(f"{reason}{_advice(charset)}", at) from None


def whole_characters(text: str) -> str:
    """`text` without lone surrogates, which no encoding can represent."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")


def _shown(codec: str, charset: str) -> str:
    return "UTF-8" if codec == "utf-8" else charset or codec.upper()


def _advice(charset: str) -> str:
    if not codec_of(charset):
        return ", and the declared charset is unknown; send UTF-8"
    if codec_of(charset) == "utf-8":
        return "; send UTF-8 or declare the charset"
    return "; send UTF-8 or the declared charset"
