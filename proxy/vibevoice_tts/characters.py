"""Character classes and normalization: words, invisible and unspeakable characters, and the
punctuation that the models were trained with."""

import re
import unicodedata

WIDE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Chinese, Japanese and Korean letters, for use in a regular expression's character class."""
WORD = re.compile(rf"[{WIDE}]|[^\W_{WIDE}](?:[^\W{WIDE}]|['’.,-](?=[^\W{WIDE}]))*")
"""A word or a number; each Chinese, Japanese or Korean letter counts as one word."""
UNSPOKEN = (
    "\u2020\u2021\u2190-\u21ff\u2300-\u245f\u2500-\u27bf\u2b00-\u2bff\ufe0e\ufe0f\u20e3\ufffc\ufffd"
    "\U0001f000-\U0001faff"
)
"""Daggers, arrows, boxes, dingbats, emoji and their variation selectors, for use in a character
class."""

BOUNDARY = "\ue000"
"""Marks a word boundary that has no space; never occurs in normalized text."""

_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_LETTER = re.compile(r"[^\W\d_]")

_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_TERMINAL_CODE = re.compile(r"\x1b\[[0-9;?]*[@-~]")
_CITATION = re.compile("\ue200[^\ue200\ue201]*\ue201")
"""ChatGPT's citations, delimited by private-use characters."""
_JOINING = "\u0600-\u07ff\u0900-\u0dff\u1000-\u109f\u1780-\u17ff"
_JOINER = re.compile(f"[\u200c\u200d](?!(?<=[{_JOINING}].)[{_JOINING}])")
"""Joiners, except within Arabic and Indic words, where they change how a letter is read."""
_ENCLOSED = re.compile("[\u2460-\u24ff\u2776-\u2793]")
_STYLED = re.compile("[\ufb00-\ufb06\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff]+")

_PRIVATE = 0xE000
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_HIDE = {ord(mark): _PRIVATE + ord(mark) for mark in _PUNCTUATION}
_REVEAL = {hidden: mark for mark, hidden in _HIDE.items()}

_KANA = re.compile("[\u3041-\u30fa]")
_WIDE_END = re.compile(r"([。！？]+[」』”’）》〉]*)(?=[^\s。！？…」』”’）》〉])")
_WIDE_PAUSE = re.compile(
    r"(?<!\d)[，、；：](?=[^\s」』”’）》〉])|[，、；：](?=[^\s\d」』”’）》〉])"
)
_QUOTES = str.maketrans({**dict.fromkeys("‘’‚‛‹›", "'"), **dict.fromkeys("“”„‟«»", '"')})
_ENGLISH = str.maketrans("，、。！？；：（）「」『』《》〈〉", ',,.!?;:()""""""""')


def normalize(text: str) -> str:
    """Normalize `text`: compose letters (NFC), use `\\n` between lines, remove control characters,
    lone surrogates and invisible characters, and replace styled letters and enclosed numbers with
    plain ones."""
    text = unicodedata.normalize("NFC", _LINE_ENDS.sub("\n", text))
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    text = _CITATION.sub("", _TERMINAL_CODE.sub("", text))
    text = re.sub("[\x1c-\x1f\u3164\uffa0]", " ", text)
    text = _STYLED.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = _ENCLOSED.sub(_plain, text)
    text = _JOINER.sub("", text)
    return "".join(c for c in text if c in "\n\t\u200c\u200d" or unicodedata.category(c)[0] != "C")


def hide(text: str) -> str:
    """Hide the punctuation of normalized `text` from all rules until `reveal` is called."""
    return text.translate(_HIDE)


def reveal(text: str) -> str:
    """The inverse of `hide`."""
    return text.translate(_REVEAL)


def is_latin(text: str) -> bool:
    """Whether at least half of the letters in `text` are Latin."""
    return 2 * len(_LATIN.findall(text)) >= len(_LETTER.findall(text))


def english_marks(text: str) -> str:
    """`text` with ASCII quotation marks and apostrophes, as Microsoft's demos pass it to the
    models. Chinese text also gets English punctuation, as Microsoft's README recommends."""
    text = re.sub("«[\u00a0\u202f]|[\u00a0\u202f]»", '"', text)
    if not _KANA.search(text):
        text = _WIDE_END.sub(r"\1 ", text)
        text = _WIDE_PAUSE.sub(lambda match: f"{match[0]} ", text)
        text = text.translate(_ENGLISH)
    return text.translate(_QUOTES)


def _plain(match: re.Match[str]) -> str:
    """The plain form of an enclosed letter or number, between spaces."""
    number = unicodedata.numeric(match[0], None)
    plain = unicodedata.normalize("NFKC", match[0]) if number is None else f"{number:g}"
    return f" {plain} "
