"""Removes parts of a text that should not be read aloud: code, reasoning, scripts, comments."""

import re
from collections import defaultdict

from vibevoice_tts.characters import WORD, normalize

MAX_NESTED_TOKENS = 10
"""Levels of nested control tokens that are removed; deeper nesting removes every `<`."""

_CONTROL = re.compile(r"<[|｜][^<>|｜]*[|｜]>")
_CHANNEL = re.compile(r"<\|channel\|>(?:analysis|commentary)\b[^<]*<\|message\|>")
_ROLE = re.compile(
    r"<\|(?:im_start|start|start_header_id|channel)\|>"
    r"(?:assistant|user|system|developer|tool|final|analysis|commentary)\b"
)
_CHANNEL_END = re.compile(r"<\|(?:end|call|return|start)\|>")

_REASONING = ("think", "thinking", "thought", "reasoning", "antthinking", "seed:think")
_MACHINE = ("script", "style", "template", "svg", "tool_call", "tool_response")
_NAMES = "|".join((*_REASONING, *_MACHINE, "details"))
_ELEMENT = re.compile(
    rf"(?<!`)(?:[<◁](?P<end>/?)(?P<name>{_NAMES})(?P<rest>(?![\w:-])[^<>◁▷]*)[>▷]"
    r"|(?-i:\[(?P<end2>/?)(?P<name2>THINK)\]))",
    re.IGNORECASE,
)
_MADE_BY_TOOLS = re.compile(r"""\btype\s*=\s*["']?(?:reasoning|tool_calls|code_interpreter)\b""")

_CONTAINER = r"[ \t]*(?:>[ \t]*|[-*+][ \t]+|\d{1,3}[.)][ \t]+)*"
_FENCE = re.compile(rf"(?P<words>){_CONTAINER}(?P<fence>`{{3,}}(?=[^`]*$)|~{{3,}}(?=[^~]*$))")
_LATE_FENCE = re.compile(r"(?P<words>[^`]*)(?P<fence>`{3,})[\w+#.-]{0,30}[ \t]*$")
"""A fence that opens after other text on its line."""


def without_omitted(text: str) -> str:
    """Normalized `text` without code blocks, reasoning, scripts, comments and control tokens."""
    text = normalize(text)
    text = _without_channels(text)
    text = strip_control_tokens(_ROLE.sub("", text))
    text = _without_comments(text)
    text = _without_elements(text)
    return _without_fences(text)


def strip_control_tokens(text: str) -> str:
    """`text` without `<|…|>`, which models read as commands, even if removing one forms another."""
    for _ in range(MAX_NESTED_TOKENS):
        if (stripped := _CONTROL.sub("", text)) == text:
            return text
        text = stripped
    return text.replace("<", " ")


def _without_channels(text: str) -> str:
    """Remove gpt-oss's reasoning and tool calls."""
    kept, position = [], 0
    for match in _CHANNEL.finditer(text):
        if match.start() < position:
            continue
        kept.append(text[position : match.start()])
        end = _CHANNEL_END.search(text, match.end())
        position = end.start() if end else len(text)
    return "".join([*kept, text[position:]])


def _without_comments(text: str) -> str:
    """Remove `<!-- … -->`; an unclosed comment stays."""
    kept, position = [], 0
    while (start := text.find("<!--", position)) >= 0:
        if (end := text.find("-->", start + 4)) < 0:
            break
        kept.append(text[position:start])
        position = end + 3
    return "".join([*kept, text[position:]])


def _without_elements(text: str) -> str:
    """Remove elements whose content is not meant for readers.

    If reasoning at the start is never closed, the model was cut off before it answered, and all of
    the text is removed. If the opening tag is missing, it was in the model's prompt. Anywhere else,
    the text merely mentions an unpaired tag, so the tag stays.
    """
    open_tags: defaultdict[str, list[re.Match[str]]] = defaultdict(list)
    spans: list[tuple[int, int]] = []
    for tag in _ELEMENT.finditer(text):
        name = (tag["name"] or tag["name2"]).lower()
        if not (tag["end"] or tag["end2"]):
            if not (tag["rest"] or "").endswith("/"):
                open_tags[name].append(tag)
        elif open_tags[name]:
            opening = open_tags[name].pop()
            if name != "details" or _MADE_BY_TOOLS.search(opening["rest"]):
                spans.append((opening.start(), tag.end()))
        elif name in _REASONING and not spans and _stands_apart(text, tag):
            spans.append((0, tag.end()))
    for name in _REASONING:
        spans += [
            (tag.start(), len(text))
            for tag in open_tags[name][:1]
            if not WORD.search(text[: tag.start()])
        ]
    kept, position = [], 0
    for start, end in sorted(spans):
        if end > position:
            kept.append(text[position : max(start, position)])
            position = end
    return " ".join([*kept, text[position:]])


def _stands_apart(text: str, tag: re.Match[str]) -> bool:
    """Whether a tag is the first or last thing on its line."""
    return "\n" in (
        text[max(tag.start() - 1, 0) : tag.start()] or "\n",
        text[tag.end() : tag.end() + 1] or "\n",
    )


def _without_fences(text: str) -> str:
    """Remove code blocks, including those in lists and quotations; an unclosed block extends to the
    end of the text or of its quotation."""
    kept: list[str] = []
    fence, quoted = "", False
    for line in text.split("\n"):
        if fence and quoted and not line.lstrip().startswith(">"):
            fence = ""
        if fence:
            bare = line.lstrip(" \t>").rstrip()
            if bare.startswith(fence) and not bare.strip(fence[0]):
                fence = ""
        elif match := _FENCE.match(line) or _LATE_FENCE.match(line):
            fence, quoted = match["fence"], line.lstrip().startswith(">")
            kept += [match["words"] or "", ""]
        else:
            kept.append(line)
    return "\n".join(kept)
