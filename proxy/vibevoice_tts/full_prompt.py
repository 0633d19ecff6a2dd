"""The prompt of the 1.5B model: a recording of each voice, then the script, as it was trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from vibevoice_tts.checkpoint import CheckpointError
from vibevoice_tts.engine import Turn

SYSTEM = (
    " Transform the text provided by various speakers into speech output, utilizing the distinct "
    "voice of each respective speaker.\n"
)
TOKENS = ("<|vision_pad|>", "<|vision_start|>", "<|vision_end|>", "<|endoftext|>")
"""What the model says: a frame, begin, end, end of all. Names from before there was speech."""
FRAME, BEGIN, END, END_OF_ALL = range(len(TOKENS))


@dataclass(frozen=True)
class Prompt:
    """Token ids, and the places among them that voices take."""

    ids: list[int]
    places: list[int]


class PromptWriter:
    """Writes prompts with one tokenizer.

    Raises:
        CheckpointError: the tokenizer is of another model.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        found = [tokenizer.token_to_id(token) for token in TOKENS]
        self.tokens = [token for token in found if token is not None]
        """Ids of `TOKENS`."""
        if len(self.tokens) != len(TOKENS):
            raise CheckpointError(f"The tokenizer lacks one of {', '.join(TOKENS)}")

    def write(self, turns: Sequence[Turn], voices: Sequence[str], lengths: Sequence[int]) -> Prompt:
        """The prompt of a script, whose voices take so many frames each."""
        frame, begin, end, _ = self.tokens
        ids = [*self._ids(SYSTEM), *self._ids(" Voice input:\n")]
        places: list[int] = []
        for number, length in enumerate(lengths):
            ids += [*self._ids(f" Speaker {number}:"), begin]
            places += range(len(ids), len(ids) + length)
            ids += [*[frame] * length, end, *self._ids("\n")]
        ids += self._ids(" Text input:\n")
        for turn in turns:
            ids += self._ids(f" Speaker {voices.index(turn.voice)}: {turn.text}\n")
        return Prompt([*ids, *self._ids(" Speech output:\n"), begin], places)

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids
