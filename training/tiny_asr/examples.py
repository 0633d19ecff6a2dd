"""Builds the language model's training examples: prompt, answer, and labels of audio tokens."""

import re
from dataclasses import dataclass, replace

import numpy as np
import torch

from training.tiny_asr.model import prompt
from training.tiny_asr.recordings import WORDS, Recording
from vibevoice_core.audio import SAMPLE_RATE, TOKEN_SAMPLES
from vibevoice_core.prompt import clean_words

END = "<|im_end|>\n<|endoftext|>"
"""How VibeVoice-ASR terminates its answer."""
ASSISTANT = "<|im_start|>assistant\n"
TIME_OR_WORD = re.compile(r'"(?:Start|End)":([\d.]+)|(?<=[" ])([a-z]+)(?=[" ])')


@dataclass(frozen=True)
class Example:
    tokens: torch.Tensor
    """(length,) ids of prompt and answer; audio tokens are placeholders."""
    audio_at: int
    audio_tokens: int
    answer_at: int
    labels: dict[str, torch.Tensor]
    """Per audio token, int64."""
    pointers: torch.Tensor
    """(n, 3) int64: position of a token of the answer, 1 if it belongs to a time or 0 if to a word,
    and the audio token that it refers to."""
    embeddings: torch.Tensor
    """(audio tokens, hidden) from the encoders and the projector; empty until added."""

    def with_audio(self, embeddings: torch.Tensor) -> "Example":
        """The same example with embeddings, without their surplus rows (padding)."""
        return replace(self, embeddings=embeddings[: self.audio_tokens])


DIGITS = 4
"""Digits of a time: tenths of a second, seconds, tens, and hundreds."""


def digits(name: str, tenths: torch.Tensor) -> dict[str, torch.Tensor]:
    """The digits of times in tenths of a second, last digit first; -100 if there is no time."""
    return {
        f"{name}{place}": torch.where(tenths < 0, -100, tenths // 10**place % 10)
        for place in range(DIGITS)
    }


def time_labels(recording: Recording, frames: int) -> dict[str, torch.Tensor]:
    """Labels for each audio token: its own time (of its center); in a segment and for one token
    after it, the segment's start; after a segment, until the first token of the next, its end.

    The times in the answer can then be found from what precedes them: a word from the start of
    its segment, and the next start from the last end.
    """
    own = ((torch.arange(frames) + 0.5) * TOKEN_SAMPLES / SAMPLE_RATE * 10).long()
    began, ended = torch.full((2, frames), -100)
    for segment in recording.segments:
        first, last = (
            min(frames - 1, int(t * SAMPLE_RATE / TOKEN_SAMPLES))
            for t in (segment.start, segment.end)
        )
        ended[first + 1 :] = -100
        began[first : last + 2] = round(segment.start * 10)
        ended[last + 1 :] = round(segment.end * 10)
    return {**digits("digit", own), **digits("began", began), **digits("ended", ended)}


def segment_labels(recording: Recording, frames: int) -> dict[str, torch.Tensor]:
    """Where segments begin (1) and end (2), who is speaking, and which word of the segment ended
    (-100 = nobody, none)."""
    edge = torch.zeros(frames, dtype=torch.long)
    speaker, nth = torch.full((2, frames), -100)
    for segment in recording.segments:
        first, last = (
            min(frames - 1, int(t * SAMPLE_RATE / TOKEN_SAMPLES))
            for t in (segment.start, segment.end)
        )
        speaker[first + 1 : last + 1] = segment.speaker
        edge[first], edge[last] = 1, 2
        for index, (_, _, end) in enumerate(segment.words):
            nth[min(frames - 1, int((end + 0.04) * SAMPLE_RATE / TOKEN_SAMPLES))] = index
    return {"edge": edge, "speaker": speaker, "nth": nth}


def extra_info(rng: np.random.Generator) -> str:
    """Sometimes a hotword list of digits or arbitrary letters, which must not affect the answer."""
    if rng.random() < 0.5:
        return ", ".join(str(w) for w in rng.choice(WORDS, rng.integers(1, 4)))
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ,.-'0123456789")
    return clean_words("".join(rng.choice(letters, rng.integers(3, 30))))


def point(recording: Recording, spans: list[tuple[int, int]], at: int, frames: int) -> torch.Tensor:
    """`Example.pointers`, from the characters that each token spans; the answer begins at `at`."""
    words = iter(w for s in recording.segments for w in s.words)
    edges = iter(t for s in recording.segments for t in (s.start, s.end))
    about: list[tuple[int, int, int, int]] = []
    for match in TIME_OR_WORD.finditer(recording.answer()):
        if match[1]:
            about.append((*match.span(1), 1, int(next(edges) * SAMPLE_RATE / TOKEN_SAMPLES)))
        else:
            about.append(
                (*match.span(2), 0, int((next(words)[2] + 0.04) * SAMPLE_RATE / TOKEN_SAMPLES))
            )
    pointers, index = [], 0
    for position, (start, end) in enumerate(spans):
        while index < len(about) and about[index][1] + at <= start:
            index += 1
        if index < len(about) and end > about[index][0] + at and end > start >= at:
            pointers.append((position, about[index][2], min(about[index][3], frames - 1)))
    return torch.tensor(pointers, dtype=torch.int64).view(-1, 3)


def text_of(tokenizer, recording: Recording, frames: int, rng: np.random.Generator) -> Example:
    """Prompt, answer, and labels of a recording of `frames` audio tokens, without audio so far."""
    info = extra_info(rng) if rng.random() < 0.1 else ""
    asked = prompt(recording.duration, frames, info)
    answer_at = len(tokenizer(asked.removesuffix(ASSISTANT)).input_ids)
    encoding = tokenizer(asked + recording.answer() + END, return_offsets_mapping=True)
    tokens = torch.tensor(encoding.input_ids)
    pointers = point(recording, encoding.offset_mapping, len(asked), frames)
    placeholder = tokenizer.get_vocab()["<|box_start|>"]
    audio_at = int((tokens == placeholder).nonzero()[0])
    labels = {**time_labels(recording, frames), **segment_labels(recording, frames)}
    return Example(tokens, audio_at, frames, answer_at, labels, pointers, torch.empty(0))
