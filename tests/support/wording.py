"""Words for scoring: without case and punctuation, with numbers and contractions spelled out."""

import re
from collections.abc import Sequence

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_SHORT = {
    **{"i'm": "i am", "it's": "it is", "that's": "that is", "there's": "there is"},
    **{"you're": "you are", "we're": "we are", "they're": "they are", "what's": "what is"},
    **{"you've": "you have", "we've": "we have", "i've": "i have", "i'll": "i will"},
    **{"you'll": "you will", "can't": "cannot", "don't": "do not", "doesn't": "does not"},
    **{"isn't": "is not", "won't": "will not", "let's": "let us", "ok": "okay"},
    **{"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint", "#": "pound"},
}


def words(text: str) -> list[str]:
    """`text` as normalized words for comparison."""
    text = text.lower().replace("’", "'")
    text = re.sub(r"\b([ap])\.? ?m\b\.?", r" \1 m ", text)
    text = re.sub(r"\$(\d+)", r" \1 dollars ", text)
    text = text.replace("%", " percent ").replace("&", " and ")
    text = re.sub(r"(\d+)(st|nd|rd|th)\b", lambda match: f" {_ordinal(int(match[1]))} ", text)
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    found = re.findall(r"\d+|[a-z']+|#", text)
    return [word for item in found for word in _spelled(item).split()]


def errors(reference: Sequence[str], heard: Sequence[str]) -> int:
    """Word edit distance: substitutions, insertions and deletions."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(reference, 1):
        before, row[0] = row[0], number
        for at, other in enumerate(heard, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (word != other))
    return row[-1]


def _spelled(item: str) -> str:
    if item.isdigit():
        # Up to three digits are read as a number, more of them digit by digit.
        return number(int(item)) if len(item) < 4 else " ".join(_ONES[int(char)] for char in item)
    return _SHORT.get(item, item.strip("'"))


def number(value: int) -> str:
    """0 to 999 in words."""
    if value < 20:
        return _ONES[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return f"{_TENS[tens]} {_ONES[ones]}" if ones else _TENS[tens]
    hundreds, rest = divmod(value, 100)
    return f"{_ONES[hundreds]} hundred" + (f" {number(rest)}" if rest else "")


def _ordinal(value: int) -> str:
    irregular = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth"}
    irregular[12] = "twelfth"
    if value in irregular:
        return irregular[value]
    if value > 20 and value % 10 in irregular:
        return f"{number(value - value % 10)} {irregular[value % 10]}"
    spelled = number(value)
    return f"{spelled[:-1]}ieth" if spelled.endswith("y") else f"{spelled}th"
