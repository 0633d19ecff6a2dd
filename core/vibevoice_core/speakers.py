"""Names for the speakers in transcripts."""

UNKNOWN = "unknown"
"""Used where OpenAI's types require a speaker or a language, and it is unknown."""


def label(index: int) -> str:
    """The label of the `index`-th speaker to appear: 0 → A, 25 → Z, 26 → AA."""
    letters = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters
