"""Markdown reduced to what a reader sees: its words and paragraph breaks.

A CommonMark parser does not work here: it treats an indented line as code, `2*3*4` as emphasis and
`[Ann]: Hello` as a link definition, and it takes most of a second to parse 50,000 brackets.
"""

import re

from vibevoice_tts.characters import UNSPOKEN, WIDE, WORD, hide

_ESCAPE = re.compile(r"""\\([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])""")
_CODE = re.compile(r"(?<![`\\])(`+)(?!`)([^\n]*?[^\n`])\1(?!`)")
_LINE_END = re.compile(r"(?:\\r)?\\n(?![a-z])|(?<=[.!?])(?:\\r)?\\n")
_WORDS_OF_CODE = re.compile(r"(?<!<)<++/?([A-Za-z][\w:.-]*+)[ ]?/?>+")

_IMAGE = re.compile(r"!\[([^\[\]]*)\]\([^()\s]*(?:[ \t][^()]*)?\)")
_LINK = re.compile(
    r"\[([^\[\]]*)\]\([ \t]*+(?:<[^<>\n]*>|[^\s()<]*(?:\([^()\s]*\)[^\s()]*)*)"
    r"""(?:[ \t]++(?:"[^"\n]*"|'[^'\n]*'))?[ \t]*+\)"""
)
_REFERENCE_LINK = re.compile(r"!?\[((?=[^\[\]\d]*[^\W\d])[^\[\]]*+)\]\[[^\[\]\n]*\]")
_WIKI_LINK = re.compile(r"\[\[(?:[^\[\]|\n]*\|)?([^\[\]|\n]*)\]\]")
_TARGET = re.compile(
    r"^[ \t>]*\[[^\[\]^\n][^\[\]\n]*\]:[ \t]*<?(?:[a-z][a-z0-9+.-]*:|www\.|[./#])\S*"
    r"""(?:[ \t]+["'(].*["')])?[ \t]*$""",
    re.MULTILINE | re.IGNORECASE,
)
_FOOTNOTE = re.compile(r"^([ \t>]*)\[\^[^\[\]\s]*\]:[ \t]*", re.MULTILINE)
_MARK = re.compile(
    r"[ ]?\[\^[^\[\]\s]*\]|[ ]?【[^【】\n†]*+†[^【】\n]*+】|[ ]?【\d+(?:[:,-]\d+)*】"
    r"|(?:(?<=[^\W\d_]{2})|(?<=[.,;:!?)”’\"']))(?:\[\d{1,3}(?:[,–-] ?\d{1,3})*\])+"
    r"|(?:\[\d{1,3}\]){2,}"
)
_AUTOLINK = re.compile(
    r"<((?:https?|ftp|mailto|tel):[^<>\s]+|www\.[^<>\s]+|[^<>\s@]+@[^<>\s@.]++\.[^<>\s@]++)>",
    re.IGNORECASE,
)
_NO_URL = rf"""\s<>"'“”’*`|()\[\]{WIDE}\u3000-\u303f\uff00-\uffef"""
_URL = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:https?|ftp)://(?:[^\s/?#@<>]*@)?|(?=www\.))(?:www\.)?"
    rf"(?P<host>[^/?#:@,;!{_NO_URL}]+)(?P<path>(?:[^{_NO_URL}]|\([^{_NO_URL}]*\))*)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b(?:mailto|tel):(?=[\w+])", re.IGNORECASE)
_URL_END = re.compile(r"[.,:;!?]*\Z")

_QUOTED = re.compile(r"[ \t]*(?:>[ \t]?)+")
_HEADING = re.compile(r"[ \t]*(?:#{1,6}[ \t]+|#{2,6}(?=[^\s#])|#(?=[^\W\d_]))")
_CLOSING = re.compile(r"(?<![ \t])[ \t]++#+[ \t]*$")
_ITEM = re.compile(
    rf"[ \t]*(?:[-*+·][ \t]+|[•‣⁃>][ \t]*|[{UNSPOKEN}]+[ \t]*|:::+[ \t]*|:[ \t]+"
    r"|\[[ xX]\][ \t]+)"
)
_NUMBERED = re.compile(r"[ \t]*(?:\(?\d{1,3}[.)](?:[ \t]|$)|[–—][ \t])")
_ALERT = re.compile(r"[ \t]*\[!(\w{1,20})\][ \t]*")
_ROW = re.compile(r"[ \t]*\|.*\|[ \t]*$|.*[ \t]\|[ \t]")

_LETTER = rf"[^\W_{WIDE}]"
_STARS = re.compile(r"\*+")
_FACTORS = re.compile(rf"{_LETTER}\*\(?{_LETTER}|[\w)] \* [\w(]|\d\*\*\d")
_EMPHASIS = re.compile(
    rf"(?<!\w)_+|(?<!_)_++(?!\w)|~~+|(?<!{_LETTER})(?<!=)={{2,}}(?=[^\s=])|(?<=[^\s=])={{2,}}(?!=)(?!{_LETTER})"
    r"|(?<!\S)#+(?!\w)|#{2,}|(?<!\w)#(?=[^\W\d_])"
)
_RAISED = re.compile(r"(?<=\w)([~^])(\w{1,20})\1")
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])`(?=[^\W\d_])")
_CELLS = re.compile(r"[ \t]\|[ \t]")
_STRAY = re.compile(r"[|\\]+")


def hide_code(text: str) -> str:
    """`text` with the punctuation within inline code hidden, and without its backticks."""
    return _CODE.sub(lambda match: hide(_WORDS_OF_CODE.sub(r" \1 ", match[2])), text)


def hide_escapes(text: str) -> str:
    """`text` with backslash-escaped punctuation hidden; a literal `\\n` becomes a line break."""
    return _ESCAPE.sub(lambda match: hide(match[1]), _LINE_END.sub("\n", text))


def without_links(text: str) -> str:
    """Replace links and images with their text and URLs with their host; remove link targets,
    footnote marks and citation marks."""
    text = _FOOTNOTE.sub(r"\n\n\1", _TARGET.sub("", text))
    for pattern in (_IMAGE, _LINK, _REFERENCE_LINK):
        text = pattern.sub(r"\1", text)
    text = _WIKI_LINK.sub(r"\1", _MARK.sub("", text))
    text = _AUTOLINK.sub(r" \1 ", text)
    return _ADDRESS.sub("", _URL.sub(_host, text))


def paragraphs(text: str) -> list[str]:
    """The headings, list items, table rows and paragraphs of `text`, each on one line and without
    its markup; those without a word are left out."""
    found: list[str] = []
    pending: list[str] = []

    def end() -> None:
        if pending:
            found.append(" ".join(pending))
            pending.clear()

    was_quoted = False
    for line in text.split("\n"):
        quote = _QUOTED.match(line)
        line = line[quote.end() :] if quote else line
        begins, line = _without_marker(line)
        is_row = bool(_ROW.match(line))
        if begins or is_row or bool(quote) != was_quoted or not WORD.search(line):
            end()
        was_quoted = bool(quote)
        if WORD.search(line):
            pending.append(_row(line) if is_row else line.strip())
        if is_row or begins == "heading":
            end()
    end()
    return found


def without_emphasis(text: str) -> str:
    """One paragraph without emphasis and code markup; `2*3` and `a_b` stay as they are."""
    text = _APOSTROPHE.sub("'", text).replace("`", "")
    text = _EMPHASIS.sub("", _STARS.sub(_stars, _RAISED.sub(r"\2", text)))
    return _STRAY.sub(" ", _CELLS.sub(", ", text))


def _without_marker(line: str) -> tuple[str, str]:
    """What a line begins (`heading`, `item` or nothing), and the line without its marker."""
    start, begins = 0, ""
    while match := _ITEM.match(line, start):
        start, begins = match.end(), "item"
    if match := _HEADING.match(line, start):
        return "heading", _CLOSING.sub("", line[match.end() :])
    if match := _ALERT.match(line, start):
        return "heading", f"{match[1]}: {line[match.end() :]}"
    return begins or ("item" if _NUMBERED.match(line) else ""), line[start:]


def _stars(match: re.Match[str]) -> str:
    """Remove asterisks, except where they mean multiplication."""
    start, end = match.span()
    around = match.string[max(start - 2, 0) : end + 2]
    near = match.string[max(start - 1, 0) : end + 2]
    return match[0] if _FACTORS.match(near) or _FACTORS.match(around) else ""


def _row(line: str) -> str:
    """The cells of a table row as a spoken list."""
    said = ""
    for cell in line.split("|"):
        if WORD.search(cell):
            between = " " if said[-1:] in ".!?:;," else ", "
            said += (between if said else "") + cell.strip()
    return said


def _host(match: re.Match[str]) -> str:
    """The host, and any punctuation after the URL that belongs to the sentence."""
    end = _URL_END.search(match["path"] or match["host"])
    return match["host"].rstrip(".:") + (end[0] if end else "")
