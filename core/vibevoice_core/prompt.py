"""The exact prompt on which VibeVoice-ASR was trained.

Source: microsoft/VibeVoice, `vibevoice/processor/vibevoice_asr_processor.py`.
"""

import re

SYSTEM = "You are a helpful assistant that transcribes audio input into text output in JSON format."
"""The system prompt."""
KEYS = "Start time, End time, Speaker ID, Content"
"""The keys named in the prompt; the model answers with Start, End, Speaker, and Content."""

MAX_NESTED = 10
"""Maximum nesting depth of special tokens that are removed; deeper ones are split."""

_SPECIAL_TOKEN = re.compile(r"<\|[^<|>]*\|>")


def clean_words(words: str) -> str:
    """A caller's words on one line, without anything that the tokenizer reads as a special token.

    `<|…|>` is removed, including tokens formed by a removal, up to MAX_NESTED deep; any remaining
    `<|` is split. Takes linear time. A second application changes nothing.
    """
    line = " ".join(words.split())
    for _ in range(MAX_NESTED):
        line = _SPECIAL_TOKEN.sub("", line)
    return " ".join(line.replace("<|", "< |").split()).strip(" ,")


def user_text(seconds: float, info: str = "") -> str:
    """The text of the user message, which follows the audio.

    Args:
        seconds: length of the recording.
        info: hotwords or other context, cleaned by `clean_words`; empty for none.
    """
    if info:
        return (
            f"This is a {seconds:.2f} seconds audio, with extra info: {info}\n\n"
            f"Please transcribe it with these keys: {KEYS}"
        )
    return f"This is a {seconds:.2f} seconds audio, please transcribe it with these keys: {KEYS}"
