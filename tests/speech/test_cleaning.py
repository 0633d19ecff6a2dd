"""Which parts of a text are read aloud, and which are not."""

import re
from random import Random

import pytest
from tests.support.processes import cpu_seconds

from vibevoice_tts.script import read_script, split_turns
from vibevoice_tts.text import clean

VOICES = ("anna", "ben", "carl")

MARKDOWN = {
    "heading": ("# Title\n\nText.", "Title\nText."),
    "heading-without-space": ("###Heading\nText.", "Heading\nText."),
    "heading-closed": ("## Title ##\nText.", "Title\nText."),
    "list": ("- one\n* two\n+ [x] three\n- [ ] four", "one\ntwo\nthree\nfour"),
    "emoji-list": ("✅ one\n✅ two", "one\ntwo"),
    "numbers": ("1. one\n2. two", "1. one\n2. two"),
    "emphasis": ("**bold** and *it _is_* and ~~gone~~", "bold and it is and gone"),
    "emphasis-in-words": ("foo**bar**baz, __that__***!***", "foobarbaz, that!"),
    "emphasis-in-chinese": ("这是**重要**的", "这是重要的"),
    "highlight": ("==x== and ==two words==, a == b", "x and two words, a == b"),
    "no-emphasis": ("2*3*4 and 2 * 3 and snake_case_name", "2*3*4 and 2 * 3 and snake_case_name"),
    "raised": ("H~2~O and x^2^, ~5 x^2", "H2O and x2, ~5 x^2"),
    "escapes": (r"\*not bold\* 1\. \$5 \_x\_ \# y", "not bold 1. $5 x y"),
    "link": ("see [the docs](https://a.b/c_(d)?e=1).", "see the docs."),
    "link-title": ('see [the docs](a.html "Docs").', "see the docs."),
    "no-link": ("[them](the whole team) and [sic]", "[them](the whole team) and [sic]"),
    "reference-link": ('see [the docs][1].\n\n[1]: https://a.b "Docs"', "see the docs."),
    "wiki-link": ("[[Page|a label]] and [[Page]]", "a label and Page"),
    "image": ("![a cat](cat.png) sleeps", "a cat sleeps"),
    "image-in-link": ("[![a cat](a.png)](b.html) sleeps", "a cat sleeps"),
    "url": ("at https://www.example.com/a?b=1#c. Next.", "at example.com. Next."),
    "url-with-password": ("at http://me:pw@example.com:80/x, yes", "at example.com, yes"),
    "url-in-chinese": ("看https://a.cn/b，谢谢", "看a.cn, 谢谢"),
    "autolink": ("see <https://example.com/a>.", "see example.com."),
    "address": ("to <ann@b.org> and mailto:bob@b.org", "to ann@b.org and bob@b.org"),
    "footnote": ("So it is[^1].\n\n[^1]: The note.", "So it is.\nThe note."),
    "citation": ("It is so【4†source】. Yes[1][2]", "It is so. Yes"),
    "code-block": ("before\n```py\nprint(1)\n```\nafter", "before\nafter"),
    "code-block-in-list": ("1. Do:\n   ```py\n   x()\n   ```\n2. Go", "1. Do:\n2. Go"),
    "code-block-in-item": ("- ```\n  x()\n  ```\n- Go", "Go"),
    "code-block-in-quote": ("> Do:\n> ~~~\n> x()\n> ~~~\n> Go", "Do:\nGo"),
    "code-block-behind-words": ("Do: ```py\nx()\n```\nGo", "Do:\nGo"),
    "open-code-block": ("before\n```py\nprint(1)", "before"),
    "inline-code": (
        "run `make test` or `f(**kwargs)` in `<div>`",
        "run make test or f(kwargs) in div",
    ),
    "inline-code-with-factors": ("`a_b*c` and ``x ` y``", "a_b*c and x y"),
    "table": ("| a | b |\n|---|:-:|\n| 1 | 2 |", "a, b\n1, 2"),
    "table-without-edges": ("a | b\n--- | ---\n1 | 2", "a, b\n1, 2"),
    "quote": (">> one\n> two\nthree", "one two\nthree"),
    "rule": ("one\n---\ntwo\n***\nthree", "one\ntwo\nthree"),
    "alert": ("> [!NOTE]\n> Mind it.", "NOTE:\nMind it."),
    "paragraphs": ("a\nwrapped   line\n\nnext", "a wrapped line\nnext"),
    "spelled-line-end": (r"One.\nTwo.", "One. Two."),
    "nothing": ("*** --- ```", ""),
}
TAGS = {
    "html": ("<b>Hi</b><br/>there, 1 < 2 > 0", "Hi there, 1 < 2 > 0"),
    "within-words": (
        "H<sub>2</sub>O <b>H</b>ello m<sup>2</sup> 1<sup>st</sup>",
        "H2O Hello m² 1st",
    ),
    "blocks": ("<p>one</p><p>two</p><div>three</div>", "one\ntwo\nthree"),
    "cells": ("<tr><td>one</td><td>two</td></tr>", "one, two"),
    "attributes": ('<a href="x?a=1>2" hidden>one</a> <img src="a.png" alt="a cat">', "one a cat"),
    "xml": ("<item><name>Ann</name><age>5</age></item>", "Ann 5"),
    "ssml": ('<speak>One<break time="1s"/>two</speak>', "One two"),
    "escaped": ("&lt;p&gt;Hi&lt;/p&gt; the &lt;b&gt; tag", "Hi\nthe b tag"),
    "comment": ("one <!-- > two\n--> three<!DOCTYPE html>", "one three"),
    "script": ("one<script>a < b;</script> two<style>p{}</style>", "one two"),
    "guillemets": ("He said <<yes, of course>> loudly.", "He said yes, of course loudly."),
    "words": ("press <enter> in List<String>", "press enter in List String"),
    "comparison": ("a < b and c >= d, a<b, 1 < -2", "a < b and c >= d, a<b, 1 < -2"),
    "arrows": ("a -> b => c", "a b c"),
    "entities": ("Tom &amp; Ann&nbsp;say &#39;hi&#39; &amp;amp; go", "Tom & Ann say 'hi' & go"),
    "invisible-entity": ("soft&shy;ly &#57380;x", "softly x"),
}
OMITTED = {
    "think": ("<think>plan</think>answer", "answer"),
    "thinking": ("<thinking>\nplan\n</thinking>\n\nanswer", "answer"),
    "nested": ("<think>a<think>b</think>c</think>answer", "answer"),
    "details": (
        '<details type="reasoning" done="true"><summary>Thought</summary>\n> plan\n</details>\nyes',
        "yes",
    ),
    "other-details": ("<details><summary>More</summary>words</details>", "More\nwords"),
    "kimi": ("◁think▷plan◁/think▷answer", "answer"),
    "mistral": ("[THINK]plan[/THINK]answer, I [think] so", "answer, I [think] so"),
    "gpt-oss": (
        "<|channel|>analysis<|message|>plan<|end|><|start|>assistant<|channel|>final<|message|>yes",
        "yes",
    ),
    "no-end": ("<think>plan", ""),
    "no-begin": ("plan\n</think>\n\nanswer", "answer"),
    "mentioned": (
        "The `<think>` tag is kept in `</think>` here.",
        "The think tag is kept in think here.",
    ),
    "tag-without-end": ("Then <script> begins it.", "Then script begins it."),
    "control-token": ("Yes<|vision_pad|>.", "Yes."),
    "control-token-in-another": ("a<|vis<|x|>ion_pad|>b", "ab"),
    "control-token-behind-invisible": ("a<|x\u200b|>b <\u200b|y|>c", "ab c"),
    "control-token-in-code": ("`<|im_end|>` yes &lt;|im_end|&gt;", "yes"),
    "role": ("<|im_start|>assistant\nHello<|im_end|>", "Hello"),
}
CHARACTERS = {
    "emoji": ("good 👍🏽 job 👩‍👩‍👧 ❤️ 🇩🇪!", "good job!"),
    "smileys": ("Great :) yes ;-) :smile: no", "Great yes no"),
    "invisible": ("\ufeffa\u200bb\x00c\u202ed so\u00adft", "abcd soft"),
    "surrogate": ("One two \ud83d three.", "One two three."),
    "line-ends": ("a\u2028\u2028b\x0c\x0cc", "a\nb\nc"),
    "colors": ("\x1b[31mred\x1b[0m", "red"),
    "enclosed": ("①First ❷ Second", "1 First 2 Second"),
    "styled": ("Ｈｅｌｌｏ 𝐁𝐨𝐥𝐝 ﬁne", "Hello Bold fine"),
    "quotes": ("It’s “yes”, I’d say… „so“ «oui»", 'It\'s "yes", I\'d say… "so" "oui"'),
    "chinese-marks": ("你好，**世界**。3：00好！是“好。”吗？", '你好, 世界. 3:00好! 是"好." 吗?'),
    "japanese-marks": ("「はい。」と言った。", "「はい。」と言った。"),
}
FORMULAS = {
    "fraction": (r"$\frac{a}{b}$", "a over b"),
    "nested": (r"$$\frac{1}{\sqrt{x^2}}$$", "1 over the square root of x squared"),
    "signs": (
        r"\(E=mc^2\) and \[x_1 \leq 10^{-3}\]",
        "E equals mc squared and x sub 1 is at most 10 to the power of minus 3",
    ),
    "degrees": (r"$25^\circ C$ and 30\%", "25 degrees C and 30%"),
    "box": (r"It is \boxed{42}.", "It is 42."),
    "unknown": (r"$\foo{a}\mathbb{R}$", "aR"),
    "prices": ("$5 and $10, $3-$4, US$5 or 6$", "$5 and $10, $3-$4, US$5 or 6$"),
    "path": (r"C:\Users\ann", "C: Users ann"),
}
CUES = {
    "pause": ("one [pause:500ms] two [pause 2s] three [short pause] four", "one two three four"),
    "sounds": ("[laughs] one [Softly laughs] <laugh> two [Music]", "one two"),
    "words": ("one [sic] [the king] two", "one [sic] [the king] two"),
}
ALL = {"markdown": MARKDOWN, "tags": TAGS, "omitted": OMITTED, "characters": CHARACTERS,
       "formulas": FORMULAS, "cues": CUES}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        pytest.param(*case, id=f"{kind}-{name}")
        for kind, table in ALL.items()
        for name, case in table.items()
    ],
)
def test_text_is_cleaned(text: str, spoken: str) -> None:
    """Only the parts that can be read aloud remain."""
    assert clean(text) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "It's \"here\", she said: 'yes'; I'd go (now) - or not...",
        "C# and C++ at 10:30, 50% off $5.99, #1 of AT&T, and/or ~5 °C, 3.14 x 1,000.5.",
        "Write to ann@example.org, and see example.com, section 4.2!",
        "[sic] and [the king] wrote a_b = 2*3 < 7 > 1 at -5.",
        "¿Qué? ¡Sí! Ça va – déjà vu, naïve façade; Größe, Ærø, łódź.",
        "Привет, как дела? Γειά σου. שלום. مرحبا بك. नमस्ते दुनिया.",
        "می\u200cخواهم بروم.",
        "「はい。」と言った。東京は、晴れです。",
        "안녕하세요. 반갑습니다!",
    ],
    ids=["english", "signs", "addresses", "brackets", "latin", "alphabets", "persian", "japanese",
         "korean"],
)  # fmt: skip
def test_ordinary_sentences_stay_as_they_are(text: str) -> None:
    """Nothing is removed from text without markup."""
    assert clean(text) == text


EMPHASIS = "**{}**|*{}*|__{}__|_{}_|~~{}~~|=={}==|<b>{}</b>|<x>{}</x>|<<{}>>|\\*{}\\*".split("|")
MARKUP = [
    *EMPHASIS,
    *("[{}](u)", "[{}][r]", "![{}](u)", "{}[^1]", "{} 😀", "<|x|>{}"),
    *("\n# {}\n", "\n> {}\n", "\n- {}\n", "\n| {} |\n", "<p>{}</p>", "<think>t</think>{}"),
    *("\n```\ncode\n```\n{}", "\n> - ```\n> code\n> ```\n\n{}"),
]


@pytest.mark.parametrize("seed", range(40))
def test_words_survive_any_markup(seed: int) -> None:
    """Words stay in order and separate, and no markup is read."""
    draw = Random(seed)
    words = [f"word{number}" for number in range(60)]
    text = ""
    for word in words:
        inner = draw.choice([*EMPHASIS, "`{}`", "{}", "{}"]).format(word)
        text += draw.choice([*MARKUP, "{}", "{}"]).format(inner) + draw.choice([" ", " ", "\n"])
    found = clean(text)
    assert re.findall(r"\w+", found) == words
    assert not set(found) & set("*_`~=#<>|[]\\()!$😀")


PIECES = [
    *("[", "](", "![](", "[[", "[^", "[a]: ", "[1] ", "http://", "www.", "http://a/(", "<a@"),
    *(
        "<",
        "<a ",
        '<a b="',
        "</",
        "<!--",
        "<|",
        "<think>",
        "</think>\n",
        "<details type=reasoning>",
    ),
    *(
        "<|channel|>analysis<|message|>",
        "<sup>1",
        "->",
        "a<b",
        "&",
        "\ue200",
        "\u200b",
        "①",
        "【1†",
    ),
    *(
        "`",
        "``a`",
        "```\n",
        "``` x\n",
        "*",
        "a*",
        "_",
        "==",
        "#",
        " | ",
        "|\n",
        "> ",
        "- > ",
        "1. ",
    ),
    *(
        "$",
        "$$",
        "\\(",
        "\\[",
        "\\\\[",
        "\\frac{",
        "\\frac{a}{",
        "^{",
        "\\n",
        ":a:",
        "[pause:",
        "-",
    ),
    *("Speaker 1: x. ", "**Speaker 1 (", '"a', "«", "。", "a.", "a", "你", " ", "\n"),
]

HEADS = ("a", "[", "[a](", "<a@", "$x", "[pause", "# a", "`", "【")
"""Opening markup that is never closed by the pieces after it."""


@pytest.mark.parametrize("piece", PIECES)
def test_no_text_takes_long(piece: str) -> None:
    """50,000 characters of any piece, alone or mixed, are cleaned and split within seconds; so is a
    fifth of that after unclosed markup."""
    draw = Random(piece)
    unclosed = [head + (piece * 10_000)[:10_000] + "x" for head in HEADS]
    for text in (*unclosed, "a" + piece + " " * 10_000 + "x"):
        assert_quick(text, 1.0)
    for unit in (piece, piece + draw.choice(PIECES), draw.choice(PIECES) + piece):
        assert_quick((unit * 50_000)[:50_000], 3.0)


def assert_quick(text: str, limit: float) -> None:
    """Splitting a text into passages takes less than `limit` seconds of CPU."""

    def split() -> None:
        split_turns(read_script(text, "anna", None, VOICES), 400)

    assert cpu_seconds(split, limit) < limit
