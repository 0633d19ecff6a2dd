"""Words, sentences and parts of a text."""

import pytest

from vibevoice_tts.text import count_words, sentences, split_text, weight


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
        pytest.param("他说「好。」然后走了", ["他说「好。」", "然后走了."], id="chinese-quote"),
        pytest.param(
            "今天好. 明天呢? 好. 是",
            ["今天好.", "明天呢?", "好.", "是."],
            id="chinese-english-marks",
        ),
        pytest.param("no end\nnew line", ["no end.", "new line."], id="lines"),
        pytest.param("well, ", ["well."], id="comma"),
        pytest.param("... !!! ?", [], id="no-words"),
    ],
)
def test_sentences_end_where_they_do(text: str, expected: list[str]) -> None:
    """Sentence-ending punctuation ends a sentence, abbreviations and numbers do not, and each
    sentence gets final punctuation."""
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
    """No part exceeds the limit, except for an added period; no letter is lost."""
    found = split_text(text, 120)
    assert max(weight(part.removesuffix(".")) for part in found) <= 121
    letters = [c for c in text if c.isalpha()]
    assert [c for c in "".join(found) if c.isalpha()] == letters


@pytest.mark.parametrize("text", ["x" * 120 + "!", "a" * 600, "x" * 120 + "?!" * 100])
def test_every_part_has_a_word(text: str) -> None:
    """A speech model could not read a part of punctuation alone."""
    parts = split_text(text, 120)
    assert parts and all(map(count_words, parts))


def test_parts_end_at_sentence_ends() -> None:
    """A sentence that fits is never cut, and sentences are packed together."""
    assert split_text("One two three. Four five. Six. Seven eight nine.", 29) == [
        "One two three. Four five.",
        "Six. Seven eight nine.",
    ]


def test_chinese_counts_by_what_it_takes_to_say() -> None:
    """A Chinese character counts as a word, and is as long as three letters."""
    assert count_words("你好 world 3.5") == 4
    assert weight("你好") == 6
