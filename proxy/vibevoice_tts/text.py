"""Text to be spoken: cleaned of what cannot be read aloud, and cut at the ends of sentences."""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator

WIDE_WEIGHT = 3
"""Latin letters that take as long to say as one Chinese, Japanese or Korean character: languages
are read at about 5 syllables a second, and an English syllable has about three letters."""
MAX_NESTED_TOKENS = 10
"""Levels of nested control tokens that are removed; a text with more of them loses every `<`."""

_WIDE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_WIDE}]|[^\W{_WIDE}]+(?:['’.,-][^\W{_WIDE}]+)*")
_CONTROL = re.compile(r"<\|[^<>|]*\|>")
_END = re.compile(
    r"""(?P<wide>[。！？；…]+[」』”’）】》]*\s*)|(?P<narrow>[.!?;]+["'”’)\]]*(?:\s+|$))|(?P<line>\n)"""
)
_FINAL = ".!?;:…。！？；："
_CLOSING = "\"'”’)]」』）】》"
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st mt vs etc e.g i.e cf al fig figs vol no nos approx inc ltd co corp "
    "dept est gen col lt sgt capt rev hon jan feb mar apr jun jul aug sep sept oct nov dec "
    "a.m p.m u.s u.k ph.d z.b d.h usw bzw nr bspw ca str".split()
)

_LONGEST_ABBREVIATION = 12
"""Characters before a period that are looked at."""

# Every repetition that another one could follow is bounded, so that no text takes long to match.
_FENCE = re.compile(r"^(```|~~~).*?(?:^\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_IMAGE = re.compile(r"!\[([^\[\]]{0,500})\]\([^()\s]{0,2000}(?:[ \t][^()]{0,500})?\)")
_LINK = re.compile(r"\[([^\[\]]{0,500})\]\([^()]{0,2000}(?:\([^()]{0,500}\)[^()]{0,500})?\)")
_THOUGHTS = re.compile(
    r"<(think|thinking|reasoning|script|style)>.*?</\1>|\A\s*<(?:think|thinking|reasoning)>.*\Z",
    re.DOTALL | re.IGNORECASE,
)
"""What a model wrote for itself, and what is no text; reasoning that was cut off has no end."""
_QUOTES = str.maketrans({**dict.fromkeys("‘’‚‛", "'"), **dict.fromkeys("“”„‟", '"')})
"""The models were trained with the marks of ASCII: Microsoft's demos map these in the same way
(`demo/realtime_model_inference_from_file.py`)."""
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,2000}>|<!--[^<>]{0,2000}-->")
_URL = re.compile(
    r"""\b(?:https?|ftp)://(?:www\.)?([^\s/?#:@<>"')\]]+)[^\s<>"')\]]*|\bwww\.([^\s/?#]+)\S*"""
)
_RULE = re.compile(r"^[ \t]*(?:[-*_|:=][ \t]?){3,}$", re.MULTILINE)
_BLOCK = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]|>+|[-*+•][ \t](?:\[[ xX]\][ \t])?|(?=\d{1,3}[.)][ \t]))", re.MULTILINE
)
_EMPHASIS = re.compile(
    r"(?<![\w*])\*{1,3}(?=\S)|(?<=\S)\*{1,3}(?![\w*])|(?<!\w)_{1,3}(?=\S)|(?<=\S)_{1,3}(?!\w)|~~"
)
"""Marks at either end of words; those between letters or spaces are kept."""
_UNSPOKEN = re.compile(
    "[\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u2500-\u27bf\u2b00-\u2bff\ufe0e\ufe0f\u20e3"
    "\U0001f000-\U0001faff]"
)
"""Arrows, boxes, dingbats, emoji and their variation selectors."""


def clean(text: str) -> str:
    """`text` as it is read aloud: without Markdown, HTML, control tokens and emoji.

    Code blocks are left out, links keep their text, a bare URL becomes its host name. Lines stay
    lines only where they end a thought (a heading, a list item, a paragraph).
    """
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    text = html.unescape(text).replace("\r", " ").translate(_QUOTES)
    text = strip_control_tokens(text)
    text = _THOUGHTS.sub(" ", text)
    text = _FENCE.sub("\n\n", text)
    text = _IMAGE.sub(r"\1", text)
    text = _LINK.sub(r"\1", text)
    text = _URL.sub(lambda match: (match[1] or match[2]).rstrip(".,;:!?"), text)
    text = _TAG.sub(" ", text)
    text = _RULE.sub("", text)
    text = _BLOCK.sub("\n", text)
    text = re.sub(r"^[ \t]*\||\|[ \t]*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"[ \t]\|[ \t]", ", ", text)
    text = re.sub(r"`+([^`\n]*)`+", r"\1", text)
    text = _EMPHASIS.sub("", text)
    text = _UNSPOKEN.sub(" ", text)
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")
    text = strip_control_tokens(text)
    paragraphs = (re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n[ \t]*\n", text))
    return "\n".join(
        re.sub(r" ([,.!?;:])(?=\s|$)", r"\1", part) for part in paragraphs if _WORD.search(part)
    )


def strip_control_tokens(text: str) -> str:
    """`text` without `<|…|>`, which models read as commands, nor any that removing one forms."""
    for _ in range(MAX_NESTED_TOKENS):
        if (stripped := _CONTROL.sub("", text)) == text:
            return text
        text = stripped
    return text.replace("<", " ")


def count_words(text: str) -> int:
    """Words, each Chinese, Japanese or Korean character counting as one."""
    return sum(1 for _ in _WORD.finditer(text))


def weight(text: str) -> int:
    """How long `text` takes to say, in Latin letters; see WIDE_WEIGHT."""
    wide = len(re.findall(f"[{_WIDE}]", text))
    return len(text) + (WIDE_WEIGHT - 1) * wide


def sentences(text: str) -> list[str]:
    """The sentences of `text`, each with final punctuation; those without a word are left out.

    Abbreviations, initials, numbers and list numbers do not end a sentence.
    """
    found, start = [], 0
    for match in _END.finditer(text):
        if match["narrow"] and not _ends_sentence(text, start, match):
            continue
        found.append(text[start : match.end()])
        start = match.end()
    found.append(text[start:])
    return [_finished(sentence) for part in found if _WORD.search(sentence := part.strip())]


def split_text(text: str, limit: int) -> list[str]:
    """`text` in parts of at most `limit` by `weight`; a sentence is cut only where it is longer."""
    return list(_packed(_short_enough(sentences(text), limit), limit))


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    mark = match["narrow"].strip()
    following = text[match.end() : match.end() + 1]
    if mark != ".":
        # "Really?" he asked.
        return not (mark[-1] in _CLOSING and following.islower())
    if not following:
        return True
    before = text[max(start, match.start() - _LONGEST_ABBREVIATION) : match.start()]
    word = before.split(" ")[-1].split("\n")[-1].lstrip("([\"'“‘").lower()
    if word in _ABBREVIATIONS or following.islower():
        return False
    initial = len(word) == 1 and word.isalpha() and word != "i"
    numbered = word.isdecimal() and len(word) <= 3 and before.strip() == word
    return not (initial or numbered)


def _finished(sentence: str) -> str:
    bare = sentence.rstrip(_CLOSING + " ")
    if bare and bare[-1] in _FINAL:
        return sentence
    bare = sentence.rstrip(",，、-– ")
    return bare + ("。" if re.match(f"[{_WIDE}]", bare[-1:]) else ".")


def _short_enough(parts: Iterable[str], limit: int) -> Iterator[str]:
    """The sentences, those above `limit` cut: at a comma, else between words, else anywhere."""
    for part in parts:
        while weight(part) > limit:
            end = _fitting(part, limit)
            cuts = [match.end() for match in re.finditer(r"[,:、，：]\s*|\s[–—-]\s", part[:end])]
            cuts = [cut for cut in cuts if cut > end // 3] or [
                match.end() for match in re.finditer(r"\s+", part[:end])
            ]
            cut = cuts[-1] if cuts else end
            yield part[:cut].strip()
            part = part[cut:].strip()
        if part:
            yield part


def _fitting(text: str, limit: int) -> int:
    """How many characters of `text` weigh at most `limit`; at least one."""
    total = 0
    for index, character in enumerate(text):
        total += weight(character)
        if total > limit:
            return max(index, 1)
    return len(text)


def _packed(parts: Iterable[str], limit: int) -> Iterator[str]:
    """Neighbors joined as long as the result stays within `limit`."""
    pending = ""
    for part in parts:
        joined = f"{pending} {part}" if pending else part
        if pending and weight(joined) > limit:
            yield pending
            pending = part
        else:
            pending = joined
    if pending:
        yield pending
