"""Names for the speakers in transcripts."""

UNKNOWN = "unknown"
"""Used where OpenAI's types require a speaker or a language, and it is unknown."""


def on_one_line(name: str) -> str:
    """`name` with single spaces for whitespace and unprintable characters. A line break in a name
    would end a cue of subtitles."""
    return " ".join("".join(char if char.isprintable() else " " for char in name).split())


def label(index: int) -> str:
    """The label of the `index`-th speaker to appear: 0 → A, 25 → Z, 26 → AA."""
    letters = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters
