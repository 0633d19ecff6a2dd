"""Who says what: the turns of a script, and the passages in which it is spoken."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import groupby

from vibevoice_tts.labels import Line, read_labels, speaker_key
from vibevoice_tts.omitted import without_omitted
from vibevoice_tts.speech_model import Samples, Turn
from vibevoice_tts.text import clean, count_words, split_text, weight

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
    passage_chars: int | None = None
    """Longest passage as `text.weight` counts, where it is shorter than the server's."""


def read_script(
    text: str, voice: str, speakers: Mapping[str, str] | None, voices: tuple[str, ...]
) -> tuple[Turn, ...]:
    """The turns of `text`, cleaned; those without a word are left out.

    The lines of a script belong to the speakers that their labels name (`labels.read_labels`).
    Those of `speakers` (name → voice) have their voices; of others the first has `voice` and the
    next have the next of `voices`, and where there are no more, those of the speakers before, in
    turn. Lines without a label continue the turn before; before the first turn they are in
    `voice`.
    """
    text = without_omitted(text)
    cast = {speaker_key(name): chosen for name, chosen in (speakers or {}).items()}
    spoken: list[tuple[str, list[str]]] = [(voice, [])]
    for line in read_labels(text, speakers or ()) or [Line("", text)]:
        if line.speaker and line.speaker not in cast:
            cast[line.speaker] = _next_voice(voice, list(cast.values()), voices)
        if line.speaker:
            spoken.append((cast[line.speaker], []))
        spoken[-1][1].append(line.text)
    cleaned = ((clean("\n".join(lines)), chosen) for chosen, lines in spoken)
    return tuple(Turn(said, chosen) for said, chosen in cleaned if said)


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


def _next_voice(first: str, taken: list[str], voices: tuple[str, ...]) -> str:
    if not taken:
        return first
    used = list(dict.fromkeys(taken))
    free = (voice for voice in (first, *voices) if voice not in used)
    return next(free, used[len(taken) % len(used)])
