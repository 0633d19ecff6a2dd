"""Who says what: the turns of a script, and the pieces in which it is spoken."""

import re
from collections.abc import Mapping
from itertools import groupby

from vibevoice_tts.engine import InvalidRequest, Turn
from vibevoice_tts.text import clean, count_words, pieces, weight

_SPEAKER_LINE = re.compile(r"[ \t]*(Speaker[ \t]+\d{1,2})[ \t]*:[ \t]*", re.IGNORECASE)

Piece = tuple[Turn, ...]
"""What one request to an engine says."""


def read_script(
    text: str, voice: str, speakers: Mapping[str, str] | None, voices: tuple[str, ...]
) -> tuple[Turn, ...]:
    """The turns of `text`, cleaned; those without a word are left out.

    With `speakers` (name → voice) a line `name: …` is that speaker's; without, a text that starts
    with `Speaker N:` is a script whose first speaker has `voice` and the others the next of
    `voices`. Lines without a name go on with the turn before, and before the first are in `voice`.

    Raises:
        InvalidRequest: nothing is left to say.
    """
    if speakers:
        names = "|".join(re.escape(name) for name in sorted(speakers, key=len, reverse=True))
        pattern = re.compile(rf"[ \t]*({names})[ \t]*:[ \t]*", re.IGNORECASE)
        cast = {_key(name): chosen for name, chosen in speakers.items()}
    elif _SPEAKER_LINE.match(text.lstrip()):
        pattern, cast = _SPEAKER_LINE, {}
    else:
        pattern, cast = None, {}
    turns: list[Turn] = []
    spoken: list[tuple[str, list[str]]] = [(voice, [])]
    for line in text.splitlines() if pattern else [text]:
        if pattern and (match := pattern.match(line)):
            name = _key(match[1])
            if name not in cast:
                cast[name] = _next_voice(voice, list(cast.values()), voices)
            spoken.append((cast[name], [line[match.end() :]]))
        else:
            spoken[-1][1].append(line)
    for chosen, lines in spoken:
        if said := clean("\n".join(lines)):
            turns.append(Turn(said, chosen))
    if not turns:
        raise InvalidRequest("There is nothing to say in it: expected at least one word or number.")
    return tuple(turns)


def cut(turns: tuple[Turn, ...], limit: int) -> list[Piece]:
    """`turns` in pieces of at most `limit` by `text.weight`, of whole turns wherever one fits.

    The text of every turn in a piece is one line that ends with punctuation.
    """
    parts = [Turn(part, turn.voice) for turn in turns for part in pieces(turn.text, limit)]
    found: list[Piece] = []
    held: list[Turn] = []
    length = 0
    for part in parts:
        length += weight(part.text)
        if held and length > limit:
            found.append(_merged(held))
            held, length = [], weight(part.text)
        held.append(part)
    return [*found, _merged(held)] if held else found


def words_in(turns: Piece) -> int:
    """Words to say; see `text.count_words`."""
    return sum(count_words(turn.text) for turn in turns)


def _merged(turns: list[Turn]) -> Piece:
    """The turns, neighbours with one voice joined."""
    return tuple(
        Turn(" ".join(turn.text for turn in group), voice)
        for voice, group in groupby(turns, key=lambda turn: turn.voice)
    )


def _key(name: str) -> str:
    return " ".join(name.lower().split())


def _next_voice(first: str, taken: list[str], voices: tuple[str, ...]) -> str:
    if not taken:
        return first
    return next((voice for voice in voices if voice not in taken), first)
