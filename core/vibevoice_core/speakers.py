"""How speakers are named in transcripts."""

UNKNOWN = "unknown"
"""Stands where OpenAI's types require a speaker (or a language) and none is known."""


def label(index: int) -> str:
    """The label of the speaker who is the `index`-th to appear: 0 → A, 25 → Z, 26 → AA."""
    letters = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters
