"""Removes HTML and XML tags and other angle brackets; bracketed words and comparisons stay."""

import html
import re

from vibevoice_tts.characters import BOUNDARY, normalize
from vibevoice_tts.cues import is_cue

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_TAG = re.compile(
    r"<(?P<end>/?)(?P<name>[A-Za-z][\w:.-]*+)"
    r"""(?P<rest>(?:"[^"<]*"|'[^'<]*'|[^<>])*+)>"""
)
_OTHER = re.compile(r"<![A-Za-z][^<>]*>|<\?[^<>]*>")
_CDATA = re.compile(r"<!\[CDATA\[|\]\]>")
_VALUE = re.compile(r"""\s[\w:@.-]+\s*=\s*(?:"[^"]*"|'[^']*'|[^\s"'<>=`]+)""")
_ALT = re.compile(r"""\salt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_BARE_ATTRIBUTES = frozenset(
    "allowfullscreen async autofocus autoplay checked controls default defer disabled hidden loop "
    "multiple muted novalidate open playsinline readonly required reversed selected".split()
)
_BLOCKS = frozenset(
    "address article aside blockquote body caption center dd details dialog div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 head header hr html legend li main nav ol "
    "option p pre section select summary table tbody tfoot thead title tr ul".split()
)
_WITHIN_WORDS = frozenset(
    "a abbr acronym b bdi bdo big cite code data del dfn em emphasis font i ins kbd label mark "
    "prosody q s samp small span strike strong sub sup time tt u var wbr w say-as phoneme".split()
)
_BETWEEN_WORDS = frozenset(
    "answer audio base br break button canvas col colgroup embed final iframe img input link map "
    "meta noscript object output param picture progress response result speak source td textarea "
    "th track video voice".split()
)
_HTML = _BLOCKS | _WITHIN_WORDS | _BETWEEN_WORDS
_VOID = frozenset(("br", "hr", "img", "wbr"))
_SUPERSCRIPT = re.compile(r"<sup>\s*([0-9]{1,3})\s*</sup>", re.IGNORECASE)
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

_GUILLEMETS = re.compile(r"<{2,}|>{2,}")
_ARROW = re.compile(r"<?(?<![-=])[-=]++>|<-+(?!\d)")
_BRACKETED = re.compile(r"<(?=\S)([^<>\n]{1,500})(?<=\S)>")
_ANGLE = re.compile(r"[<>]=?")
_OPERAND_BEFORE = re.compile(r"[\w)\]°%]\s?\Z")
_OPERAND_AFTER = re.compile(r"\s?[\w(\[$€£+.-]")


def without_tags(text: str) -> str:
    """`text` without tags and with its entities resolved. Block and cell tags become Markdown
    breaks; style tags are removed without splitting words."""
    text = _SUPERSCRIPT.sub(lambda match: match[1].translate(_RAISED), text)
    text = _CDATA.sub("", _OTHER.sub(" ", text))
    text = _remove(text, known=_HTML)
    if "&" not in text:
        return text
    # Twice, since text is often escaped twice. If an escaped tag has no partner, the text merely
    # mentions it.
    for _ in range(2):
        text = _ENTITY.sub(lambda match: normalize(html.unescape(match[0])), text)
    return _remove(text, known=frozenset())


def without_angles(text: str) -> str:
    """`text` without angle brackets, except in comparisons such as `a < b`."""
    if "<" not in text and ">" not in text:
        return text
    text = _ARROW.sub(" ", _GUILLEMETS.sub(" ", text))
    return _ANGLE.sub(_comparison, _BRACKETED.sub(_words_of, text))


def _remove(text: str, *, known: frozenset[str]) -> str:
    """Remove tags with `known` names, and other tags that are paired, have an attribute value or
    are empty."""
    if "<" not in text:
        return text
    closed = {match["name"].lower() for match in _TAG.finditer(text) if match["end"]}

    def replace(match: re.Match[str]) -> str:
        name, rest = match["name"].lower(), match["rest"]
        others = _VALUE.sub("", rest).removesuffix("/").split()
        has_value = "=" in rest
        is_tag = (match["end"] or has_value or rest.endswith("/")) or (
            name in closed | known | _VOID or is_cue(name)
        )
        if not is_tag or not _BARE_ATTRIBUTES.issuperset(others):
            return match[0]
        alt = _ALT.search(rest) if name == "img" else None
        if alt:
            return f"{BOUNDARY}{alt[1] or alt[2] or ''}{BOUNDARY}"
        mark = _break(name)
        return "" if mark == BOUNDARY and _begins_line(match) else mark

    return _TAG.sub(replace, text)


def _begins_line(match: re.Match[str]) -> bool:
    return match.string[max(match.start() - 1, 0) : match.start()] in ("", "\n")


def _break(name: str) -> str:
    """The text that replaces a tag."""
    if name in _WITHIN_WORDS:
        return ""
    if name in _BLOCKS:
        return "\n\n"
    if name in ("td", "th"):
        return " | "
    return "\n" if name in ("br", "break") else BOUNDARY


def _words_of(match: re.Match[str]) -> str:
    text, (start, end) = match.string, match.span()
    compares = text[max(start - 1, 0) : start].isalnum() and text[end : end + 1].isalnum()
    return match[0] if compares else f" {match[1]} "


def _comparison(match: re.Match[str]) -> str:
    before = match.string[max(match.start() - 2, 0) : match.start()]
    after = match.string[match.end() : match.end() + 2]
    compares = _OPERAND_BEFORE.search(before) and _OPERAND_AFTER.match(after)
    return match[0] if compares else " "
