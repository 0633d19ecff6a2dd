"""What is read aloud, and in which passages."""

import pytest

from vibevoice_tts.script import read_script, split_turns
from vibevoice_tts.speech_model import Turn
from vibevoice_tts.text import clean, count_words, sentences, split_text, weight

VOICES = ("anna", "ben", "carl")


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        pytest.param("# Title\n\nText.", "Title\nText.", id="heading"),
        pytest.param("- one\n* two\n+ [x] three", "one\ntwo\nthree", id="list"),
        pytest.param(
            "**bold** and *it _is_* and ~~gone~~", "bold and it is and gone", id="emphasis"
        ),
        pytest.param("2*3*4 and snake_case_name", "2*3*4 and snake_case_name", id="no-emphasis"),
        pytest.param("see [the docs](https://a.b/c_(d)?e=1).", "see the docs.", id="link"),
        pytest.param("![a cat](cat.png) sleeps", "a cat sleeps", id="image"),
        pytest.param("at https://www.example.com/a?b=1#c.", "at example.com", id="url"),
        pytest.param("before\n```py\nprint(1)\n```\nafter", "before\nafter", id="code-block"),
        pytest.param("before\n```py\nprint(1)", "before", id="open-code-block"),
        pytest.param("run `make test` now", "run make test now", id="inline-code"),
        pytest.param("<b>Hi</b><br/>there, 1 < 2 > 0", "Hi there, 1 < 2 > 0", id="html"),
        pytest.param("| a | b |\n|---|:-:|\n| 1 | 2 |", "a, b\n1, 2", id="table"),
        pytest.param("good 👍🏽 job 👩‍👩‍👧 ❤️ 🇩🇪!", "good job!", id="emoji"),
        pytest.param("a\u200bb\x00c\u202ed", "abcd", id="invisible"),
        pytest.param("a\nwrapped   line\n\nnext", "a wrapped line\nnext", id="paragraphs"),
        pytest.param("Yes<|vision_pad|>.", "Yes.", id="control-token"),
        pytest.param("a<|vis<|x|>ion_pad|>b", "ab", id="control-token-in-another"),
        pytest.param("a<|x\u200b|>b <\u200b|y|>c", "ab c", id="control-token-behind-invisible"),
        pytest.param("你好，**世界**。", "你好，世界。", id="chinese"),
        pytest.param("*** --- ```", "", id="nothing"),
    ],
)
def test_text_is_cleaned(text: str, spoken: str) -> None:
    """What cannot be read aloud goes, and what can stays."""
    assert clean(text) == spoken


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("One. Two! Three?", ["One.", "Two!", "Three?"], id="marks"),
        pytest.param("Pi is 3.14. Or 1,000.5 so.", ["Pi is 3.14.", "Or 1,000.5 so."], id="numbers"),
        pytest.param("Dr. No met J. R. Smith.", ["Dr. No met J. R. Smith."], id="abbreviations"),
        pytest.param("Buy fruit, e.g. apples. Go.", ["Buy fruit, e.g. apples.", "Go."], id="e.g."),
        pytest.param('"Really?" he asked. No.', ['"Really?" he asked.', "No."], id="quotes"),
        pytest.param("1. First. 2. Second.", ["1. First.", "2. Second."], id="list-numbers"),
        pytest.param("今天好。明天呢？好！", ["今天好。", "明天呢？", "好！"], id="chinese"),
        pytest.param("他说「好。」然后走了", ["他说「好。」", "然后走了。"], id="chinese-quote"),
        pytest.param("no end\nnew line", ["no end.", "new line."], id="lines"),
        pytest.param("well, ", ["well."], id="comma"),
        pytest.param("... !!! ?", [], id="no-words"),
    ],
)
def test_sentences_end_where_they_do(text: str, expected: list[str]) -> None:
    """Sentence marks end one, abbreviations and numbers do not, and each gets final punctuation."""
    assert sentences(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("This is a sentence of words. " * 40, id="sentences"),
        pytest.param("word " * 300, id="no-marks"),
        pytest.param("clause, " * 200, id="commas"),
        pytest.param("x" * 900, id="no-spaces"),
        pytest.param("今天天气很好我们去公园" * 40, id="chinese"),
        pytest.param("今天天气很好。" * 60, id="chinese-sentences"),
    ],
)
def test_parts_are_short_enough_and_lose_nothing(text: str) -> None:
    """No part is longer than the limit, but for the period it may get; no letter is lost."""
    found = split_text(text, 120)
    assert max(weight(part.removesuffix("。")) for part in found) <= 121
    letters = [c for c in text if c.isalpha()]
    assert [c for c in "".join(found) if c.isalpha()] == letters


def test_parts_end_at_sentence_ends() -> None:
    """A sentence that fits is never cut, and sentences are packed together."""
    assert split_text("One two three. Four five. Six. Seven eight nine.", 29) == [
        "One two three. Four five.",
        "Six. Seven eight nine.",
    ]


def test_chinese_counts_by_what_it_takes_to_say() -> None:
    """A Chinese character is a word, and as long as three letters."""
    assert count_words("你好 world 3.5") == 4
    assert weight("你好") == 6


def test_script_lines_are_turns() -> None:
    """`Speaker N:` lines are turns; the first speaker has the voice asked for, others the next."""
    text = "Speaker 1: Hello.\nHow are you?\nspeaker 2: **Fine**.\nSpeaker 1: Good."
    turns = read_script(text, "ben", None, VOICES)
    assert turns == (
        Turn("Hello. How are you?", "ben"),
        Turn("Fine.", "anna"),
        Turn("Good.", "ben"),
    )


def test_named_speakers_have_their_voices() -> None:
    """With a map of speakers its names begin a turn, and other names are text."""
    text = "Intro: hi.\nMy Host: Hello.\nGUEST: Speaker 1: is text."
    turns = read_script(text, "anna", {"my host": "ben", "Guest": "carl"}, VOICES)
    assert turns == (
        Turn("Intro: hi.", "anna"),
        Turn("Hello.", "ben"),
        Turn("Speaker 1: is text.", "carl"),
    )


def test_a_text_without_words_has_no_turns() -> None:
    """Emoji, punctuation and control tokens are nothing to say."""
    assert read_script("😀 ... <|im_end|>", "anna", None, VOICES) == ()


@pytest.mark.parametrize(
    "label",
    [
        "Speaker {}:", "**Speaker {}:**", "**Speaker {}**:", "__Speaker {}:__", "[Speaker {}]:",
        "Speaker {}：", "- Speaker {}:", "> Speaker {}:", "### Speaker {}:", "  speaker {} : ",
        "SPEAKER_0{}:", "*Speaker {}*:", "- **Speaker {}:**",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "\ufeff", "\n\n"], ids=["", "bom", "blank-lines"])
def test_labels_in_every_form_are_not_spoken(before: str, label: str) -> None:
    """As language models write them: two voices, and only what they say."""
    text = f"{before}{label.format(1)} Good morning.\n{label.format(2)} Hello."
    turns = read_script(text, "anna", None, VOICES)
    assert [turn.text for turn in turns] == ["Good morning.", "Hello."]
    assert turns[0].voice == "anna"
    assert turns[1].voice in set(VOICES) - {"anna"}


def test_a_title_before_a_script_is_read_first() -> None:
    """In the voice of the request."""
    turns = read_script("A Morning\nSpeaker 1: Hello.", "anna", None, VOICES)
    assert " ".join(turn.text for turn in turns) == "A Morning Hello."
    assert {turn.voice for turn in turns} == {"anna"}


@pytest.mark.parametrize(
    "line", ["Note: this is no label.", "The speaker 1: odd.", "10:30 is late."]
)
def test_other_colons_are_text(line: str) -> None:
    """Nothing of them is lost."""
    (turn,) = read_script(line, "anna", None, VOICES)
    assert turn.text == line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It’s ‘here’, she said: “yes”.", "It's 'here', she said: \"yes\"."),
        ("Tom &amp; Jerry&nbsp;&mdash; isn&#39;t it?", "Tom & Jerry — isn't it?"),
        ("<think>The user wants a plan.</think>The answer is 42.", "The answer is 42."),
        ("<think>Never ends.", ""),
        ("A <script>alert(1)</script> word.", "A word."),
    ],
    ids=["quotes", "entities", "reasoning", "cut-off-reasoning", "script"],
)
def test_marks_entities_and_reasoning(text: str, said: str) -> None:
    """What a person would read aloud, with the marks that the models were trained on."""
    assert clean(text) == said


def test_turns_are_packed_into_passages() -> None:
    """Short turns share a passage, in order; a long one is cut, each part in its voice."""
    turns = (Turn("One.", "anna"), Turn("Two.", "ben"), Turn("Go on. " * 5, "anna"))
    assert split_turns(turns, 16) == [
        (Turn("One.", "anna"), Turn("Two.", "ben")),
        (Turn("Go on. Go on.", "anna"),),
        (Turn("Go on. Go on.", "anna"),),
        (Turn("Go on.", "anna"),),
    ]
