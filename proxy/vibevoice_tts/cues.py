"""Removes delivery cues that should not be read aloud: bracketed cues, pauses and smileys."""

import re

_SOUNDS = frozenset(
    "laugh laughs laughing laughter chuckle chuckles chuckling giggle giggles giggling sigh sighs "
    "sighing gasp gasps gasping cough coughs coughing groan groans groaning yawn yawns yawning "
    "sniff sniffs sniffles sniffling snort snorts sob sobs sobbing cry cries crying whisper "
    "whispers whispering shout shouts shouting breath breathes breathing inhale inhales inhaling "
    "exhale exhales exhaling applause applauds clapping cheering cheers music noise inaudible "
    "silence pause pauses beat blank_audio crosstalk".split()
)
_MANNERS = frozenset(
    "softly nervously quietly gently loudly lightly deeply heavily background short long brief "
    "dramatic sharply clears throat soft light deep heavy loud nervous playing".split()
)
_BRACKETS = re.compile(r"\[\s*([A-Za-z_]+(?: [A-Za-z_]+){0,3})\s*\]")
_PAUSE = re.compile(
    r"\[\s*+(?:pause|break|silence|wait)\s*+(?:[:=,]\s*+)?\d++(?:\.\d+)?\s*+"
    r"(?:(?:ms|s|secs?|seconds?)\s*+)?\]",
    re.IGNORECASE,
)
_SHORTCODE = re.compile(r"(?<!\S):[a-z][a-z0-9_+-]{1,30}:(?=[\s.,!?]|$)")
_SMILEY = re.compile(r"(?<!\S)[:;][-'^]?[)(DPpOo/|\]\[*]{1,5}(?=[\s.,!?]|$)")


def is_cue(text: str) -> bool:
    """Whether `text`, without its brackets, describes a sound that a speaker makes, or a pause.

    Other bracketed words are part of the text: `[sic]`, `[the king]`.
    """
    words = text.lower().split()
    known = all(word in _SOUNDS or word in _MANNERS for word in words)
    return known and (not _SOUNDS.isdisjoint(words) or words == ["clears", "throat"])


def without_cues(text: str) -> str:
    """`text` without cues, timed pauses, smileys and emoji shortcodes."""
    text = _PAUSE.sub(" ", text)
    text = _BRACKETS.sub(lambda match: " " if is_cue(match[1]) else match[0], text)
    return _SMILEY.sub(" ", _SHORTCODE.sub(" ", text))
