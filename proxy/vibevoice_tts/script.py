"""Parses a script into turns and groups the turns into passages."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import groupby

from vibevoice_tts.labels import Line, read_labels, speaker_key
from vibevoice_tts.omitted import without_omitted
from vibevoice_tts.speech_model import Samples, Turn
from vibevoice_tts.text import clean, count_words, split_text, weight

Passage = tuple[Turn, ...]
"""The turns spoken by one request to a model."""


@dataclass(frozen=True)
class Script:
    """The text that a client wants spoken, and how."""

    text: str
    _: KW_ONLY
    voice: str = ""
    """Empty means the model's default voice."""
    speakers: Mapping[str, str] | None = None
    """Name → voice, for each speaker of a script."""
    cfg_scale: float | None = None
    steps: int | None = None
    seed: int | None = None
    samples: Mapping[str, Samples] = field(default_factory=dict)
    """Recordings to clone, by voice name."""
    passage_chars: int | None = None
    """Longest passage, as `text.weight` counts, if shorter than the server's limit."""


def read_script(
    text: str, voice: str, speakers: Mapping[str, str] | None, voices: tuple[str, ...]
) -> tuple[Turn, ...]:
    """The turns of `text`, cleaned; those without a word are left out.

    Each line of a script belongs to the speaker that its label names (`labels.read_labels`).
    Speakers in `speakers` (name → voice) get the voice given there. Of the others, the first gets
    `voice` and each next one an unused voice from `voices`; when none is left, the voices in use
    are assigned again in turn. A line without a label continues the turn before it; before the
    first turn, it is spoken in `voice`.
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
    """Split `turns` into passages of at most `limit` by `text.weight`; a turn is cut only if it is
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
    """Number of words in a passage; see `text.count_words`."""
    return sum(count_words(turn.text) for turn in passage)


def _merge(turns: list[Turn]) -> Passage:
    """The turns, with adjacent turns of the same voice joined."""
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
