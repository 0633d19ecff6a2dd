"""Moonshine: transcribes one turn with greedy decoding."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vibevoice_light.audio import SAMPLE_RATE, silence
from vibevoice_light.models import is_tiny_english
from vibevoice_light.sessions import Array, Session, open_session
from vibevoice_light.tokenizer import Tokenizer

MAX_SECONDS = 30.0
"""Longest audio that the model was trained on (Moonshine's paper, arXiv:2410.15608)."""
MIN_SECONDS = 0.1
"""Shortest audio passed to the model."""
PAD_SECONDS = 0.3
"""Silence added before and after. Lowers the word error rate for prompts below 1.5 s from 31.0 % to
28.9 %."""
ENGLISH_TOKENS_PER_SECOND = 6.5
"""Token limit per second of English, above the rate of human speech (Moonshine's own limit)."""
TOKENS_PER_SECOND = 13.0
"""The same for models of other languages, whose words may take more tokens (Moonshine's own limit
for all but English and Spanish)."""
REPEATED = 4
"""Sequences of up to this many tokens cannot occur three times in a row: greedy decoding can
loop."""
_BEGIN, _END = 1, 2


class Token(NamedTuple):
    """A token of the recognized text."""

    text: str
    """Includes the space before it; empty for the end token and for partial characters."""
    log_probability: float


@dataclass(frozen=True, slots=True)
class Words:
    """The result of recognition."""

    text: str
    tokens: tuple[Token, ...]
    is_cut: bool
    """Whether the model reached the token limit without ending the text."""

    @property
    def mean_log_probability(self) -> float:
        """Mean log probability per token; 0 is certain."""
        return sum(token.log_probability for token in self.tokens) / max(1, len(self.tokens))


class Moonshine:
    """Recognizes words with a Moonshine model of any size."""

    def __init__(
        self, encoder: Session, decoder: Session, tokenizer: Tokenizer, tokens_per_second: float
    ) -> None:
        """`tokens_per_second`: limit of the decoder, in case it loops."""
        self._tokens_per_second = tokens_per_second
        self._encoder = encoder
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._past = [port for port in decoder.get_inputs() if port.name.startswith("past")]
        self._takes_mask = any(
            port.name == "encoder_attention_mask" for port in decoder.get_inputs()
        )
        self._encoder_takes_mask = len(encoder.get_inputs()) > 1
        self._outputs = [port.name for port in decoder.get_outputs()]

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> "Moonshine":
        """Load from `folder`: encoder and decoder as `.ort` or `.onnx`, and a vocabulary."""
        encoder, decoder = (
            open_session(_either(folder, name), threads)
            for name in ("encoder_model", "decoder_model_merged")
        )
        return cls(encoder, decoder, Tokenizer.load(folder), tokens_per_second(folder))

    def recognize(self, samples: NDArray[np.float32]) -> Words:
        """The words in `samples`, shape (samples,): mono, 16 kHz, full scale 1.0, at most
        MAX_SECONDS including the padding."""
        if len(samples) < MIN_SECONDS * SAMPLE_RATE:
            return Words("", (), False)
        pad = silence(round(PAD_SECONDS * SAMPLE_RATE))
        audio = np.concatenate([pad, samples, pad])[None].astype(np.float32, copy=False)
        mask = np.ones(audio.shape, np.int64)
        inputs: dict[str, Array] = {"input_values": audio}
        if self._encoder_takes_mask:
            inputs["attention_mask"] = mask
        [hidden] = self._encoder.run(None, inputs)
        limit = math.ceil(audio.shape[1] / SAMPLE_RATE * self._tokens_per_second)
        return self._decode(hidden, mask, limit)

    def _decode(self, hidden: Array, mask: Array, limit: int) -> Words:
        feed: dict[str, Array] = {port.name: _empty(port.shape) for port in self._past}
        feed["encoder_hidden_states"] = hidden
        if self._takes_mask:
            feed["encoder_attention_mask"] = (
                mask  # as long as the audio; the decoder downsamples it
            )
        written = [_BEGIN]
        log_probabilities: list[float] = []
        for step in range(limit):
            feed["input_ids"] = np.array([written[-1:]], np.int64)
            feed["use_cache_branch"] = np.array([step > 0])
            logits, *present = self._decoder.run(None, feed)
            for name, value in zip(self._outputs[1:], present, strict=True):
                # The encoder's keys and values are only computed in the first step.
                if step == 0 or ".encoder." not in name:
                    feed[name.replace("present", "past_key_values")] = value
            scores = _log_softmax(logits[0, -1])
            allowed = scores.copy()
            allowed[_worn_out(written)] = -np.inf
            best = int(allowed.argmax())
            log_probabilities.append(float(scores[best]))
            written.append(best)
            if best == _END:
                break
        text = self._tokenizer.decode(written[1:])
        texts = map(self._tokenizer.text_of, written[1:])
        tokens = map(Token, texts, log_probabilities)
        return Words(text, tuple(tokens), written[-1] != _END)


def tokens_per_second(folder: Path) -> float:
    """The token limit of the model in `folder`. Only the default model is known to be English."""
    return ENGLISH_TOKENS_PER_SECOND if is_tiny_english(folder) else TOKENS_PER_SECOND


def _either(folder: Path, name: str) -> Path:
    compact = folder / f"{name}.ort"
    return compact if compact.is_file() else folder / f"{name}.onnx"


def _empty(shape: Sequence[int | str | None]) -> NDArray[np.float32]:
    """An empty cache of shape (1, heads, 0, head size)."""
    _, heads, _, size = shape
    return np.zeros((1, int(heads or 0), 0, int(size or 0)), np.float32)


def _log_softmax(logits: Array) -> NDArray[np.float32]:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def _worn_out(tokens: Sequence[int]) -> list[int]:
    """Tokens that would make the last sequence occur a third time."""
    last = tuple(tokens[1 - REPEATED :])
    followers = Counter(
        tokens[at + REPEATED - 1]
        for at in range(len(tokens) - REPEATED + 1)
        if tuple(tokens[at : at + REPEATED - 1]) == last
    )
    return [token for token, count in followers.items() if count >= 2]
