"""The prompt that VibeVoice-ASR was trained on, to the letter.

Source: microsoft/VibeVoice, `vibevoice/processor/vibevoice_asr_processor.py`.
"""

import re

SYSTEM = "You are a helpful assistant that transcribes audio input into text output in JSON format."
"""The system prompt."""
KEYS = "Start time, End time, Speaker ID, Content"
"""The keys that the model is asked for; it answers with Start, End, Speaker and Content."""

MAX_NESTED = 10
"""Special tokens inside one another that are removed; deeper ones are split."""

_SPECIAL_TOKEN = re.compile(r"<\|[^<|>]*\|>")


def clean_words(words: str) -> str:
    """Words of a caller as one line in which the tokenizer finds no special token.

    `<|…|>` is removed, also where removing one forms another, up to MAX_NESTED deep; a `<|` that
    remains is split. The time taken is linear. Applying this twice changes nothing.
    """
    line = " ".join(words.split())
    for _ in range(MAX_NESTED):
        line = _SPECIAL_TOKEN.sub("", line)
    return " ".join(line.replace("<|", "< |").split()).strip(" ,")


def user_text(seconds: float, info: str = "") -> str:
    """The user's text, which follows the audio.

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
