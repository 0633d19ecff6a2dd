"""Creates a stand-in for Qwen2.5's tokenizer, which VibeVoice-ASR's original layout lacks.

It has the size of Qwen2.5's and the same special tokens with the same ids. Its words are invented,
but include those of the prompt, so a prompt has about as many tokens as with Qwen2.5's.
"""

import itertools
import json
import string
from collections.abc import Iterator
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from vibevoice_core.prompt import SYSTEM, user_text

WORDS = 151643
"""Number of Qwen2.5's tokens before its special tokens."""
SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>"),
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
)
"""Qwen2.5's special tokens in order of their ids, starting at `WORDS`."""
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2.5's pattern for splitting text into words."""


def write_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json to `folder`, in Qwen2.5's form."""
    pieces = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    prompt = f"system\n{SYSTEM}\nuser\n{user_text(0.0, 'x')}\n{user_text(0.0)}\nassistant\n"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pieces  # pyright: ignore[reportAttributeAccessIssue]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([prompt], trainer)  # until each of its words is a token
    trained = json.loads(tokenizer.to_str())["model"]
    vocabulary = dict(trained["vocab"])
    for word in itertools.islice(_made_up(), WORDS - len(vocabulary)):
        vocabulary[word] = len(vocabulary)
    merges = [tuple(pair) for pair in trained["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pieces  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 131072,
        "tokenizer_class": "Qwen2Tokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _made_up() -> Iterator[str]:
    """Words of four capital letters, each after a space (`Ġ` in the byte alphabet); none is a word
    of the prompt."""
    for letters in itertools.product(string.ascii_uppercase, repeat=4):
        yield "Ġ" + "".join(letters)
