"""Who says what: the turns of a script, and the passages in which it is spoken."""

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import groupby

from vibevoice_tts.speech_model import Samples, Turn
from vibevoice_tts.text import clean, count_words, split_text, weight

_SPEAKER = r"Speaker[ \t_-]*\d{1,2}"
"""How a script without the field `speakers` names them; `SPEAKER_01` is what diarization writes."""
_BEFORE = r"(?:[ \t]|[-*+>][ \t]|\#{1,6}[ \t])*(?:\*{1,3}|__?|\[)*[ \t]*"
_AFTER = r"[ \t]*(?:\*{1,3}|__?|\])*[ \t]*[:：][ \t]*(?:\*{1,3}|__?)?[ \t]*"
"""What language models write around a label: emphasis, brackets, list and quotation marks."""

Passage = tuple[Turn, ...]
"""What one request to a model says."""


@dataclass(frozen=True)
class Script:
    """What a client asks to be said, and how."""

    text: str
    _: KW_ONLY
    voice: str = ""
    """Empty means the model's default voice."""
    speakers: Mapping[str, str] | None = None
    """Name → voice of the speakers of a script."""
    cfg_scale: float | None = None
    steps: int | None = None
    seed: int | None = None
    samples: Mapping[str, Samples] = field(default_factory=dict)
    """Recordings to clone, by the names of voices that mean them."""


def read_script(
    text: str, voice: str, speakers: Mapping[str, str] | None, voices: tuple[str, ...]
) -> tuple[Turn, ...]:
    """The turns of `text`, cleaned; those without a word are left out.

    With `speakers` (name → voice) a line `name: …` belongs to that speaker. Without, a text with
    lines that begin with `Speaker N:`, also as `**Speaker N:**` or `[Speaker N]:`, is a script
    whose first speaker has `voice` and the others the next of `voices`. Lines without a name
    continue the turn before; before the first turn they are in `voice`. A text without words has no
    turns.
    """
    if speakers:
        names = "|".join(re.escape(name) for name in sorted(speakers, key=len, reverse=True))
        pattern = _label(names)
        cast = {_key(name): chosen for name, chosen in speakers.items()}
    else:
        pattern, cast = _label(_SPEAKER), {}
        if not any(map(pattern.match, text.splitlines())):
            pattern = None
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
    return tuple(turns)


def split_turns(turns: tuple[Turn, ...], limit: int) -> list[Passage]:
    """`turns` as passages of at most `limit` by `text.weight`; a turn is cut only where it is
    longer than a passage.

    The text of every turn in a passage is one line that ends with punctuation.
    """
    parts = [Turn(part, turn.voice) for turn in turns for part in split_text(turn.text, limit)]
    passages: list[Passage] = []
    pending: list[Turn] = []
    length = 0
    for part in parts:
        length += weight(part.text)
        if pending and length > limit:
            passages.append(_merge(pending))
            pending, length = [], weight(part.text)
        pending.append(part)
    return [*passages, _merge(pending)] if pending else passages


def words_in(passage: Passage) -> int:
    """Words to say; see `text.count_words`."""
    return sum(count_words(turn.text) for turn in passage)


def _merge(turns: list[Turn]) -> Passage:
    """The turns, neighbors with one voice joined."""
    return tuple(
        Turn(" ".join(turn.text for turn in group), voice)
        for voice, group in groupby(turns, key=lambda turn: turn.voice)
    )


def _label(names: str) -> re.Pattern[str]:
    """What begins a line of one of `names`, a regular expression."""
    return re.compile(rf"\ufeff?{_BEFORE}({names}){_AFTER}", re.IGNORECASE)


def _key(name: str) -> str:
    return " ".join(name.lower().split())


def _next_voice(first: str, taken: list[str], voices: tuple[str, ...]) -> str:
    if not taken:
        return first
    return next((voice for voice in voices if voice not in taken), first)
