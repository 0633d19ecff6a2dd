"""Builds the 1.5B model's prompt as in training: a recording of each voice, then the script."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from vibevoice_tts.engines.loading import CheckpointError
from vibevoice_tts.speech_model import Turn

SYSTEM = (
    " Transform the text provided by various speakers into speech output, utilizing the distinct "
    "voice of each respective speaker.\n"
)
TOKENS = ("<|vision_pad|>", "<|vision_start|>", "<|vision_end|>", "<|endoftext|>")
"""The tokens that the model outputs: frame, begin, end, end of all. The names come from the text
model."""
FRAME, BEGIN, END, END_OF_ALL = range(len(TOKENS))
"""Indices into TOKENS."""


@dataclass(frozen=True)
class Prompt:
    """A prompt as token ids."""

    ids: list[int]
    voice_positions: list[int]
    """Indices into `ids` where the frames of the voices go."""


class PromptWriter:
    """Writes prompts with one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises CheckpointError if the tokenizer belongs to another model."""
        self._tokenizer = tokenizer
        found = [tokenizer.token_to_id(token) for token in TOKENS]
        self.tokens = [token for token in found if token is not None]
        """Ids of `TOKENS`."""
        if len(self.tokens) != len(TOKENS):
            raise CheckpointError(f"The tokenizer is missing at least one of {', '.join(TOKENS)}")

    def write(self, turns: Sequence[Turn], voices: Sequence[str], lengths: Sequence[int]) -> Prompt:
        """The prompt for a script; `lengths` are the numbers of frames of its `voices`."""
        frame, begin, end, _ = self.tokens
        ids = [*self._ids(SYSTEM), *self._ids(" Voice input:\n")]
        positions: list[int] = []
        for number, length in enumerate(lengths):
            ids += [*self._ids(f" Speaker {number}:"), begin]
            positions += range(len(ids), len(ids) + length)
            ids += [*[frame] * length, end, *self._ids("\n")]
        ids += self._ids(" Text input:\n")
        for turn in turns:
            ids += self._ids(f" Speaker {voices.index(turn.voice)}: {turn.text}\n")
        return Prompt([*ids, *self._ids(" Speech output:\n"), begin], positions)

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids
