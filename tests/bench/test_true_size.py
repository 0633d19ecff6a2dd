"""The true-size benchmark distinguishes answers that match a reference from others."""

from dataclasses import replace
from pathlib import Path

import pytest
from bench.asr_reference import Reference, compare
from bench.clips import clip
from bench.true_size import TOP, ask
from tests.support.engine import TINY

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:`acoustic_tokenizer_chunk_size` is deprecated"),
]
TOKENS = 12


def test_an_answer_is_compared_with_transformers(engine_url: str, tmp_path: Path) -> None:
    """The embedded checkpoint in the real engine matches; a wrong token, or another recording, does
    not."""
    audio = tmp_path / "audio.wav"
    audio.write_bytes(clip(1, 6.0))
    asked = ask(engine_url, 6.0, audio, TOKENS)
    assert len(asked.answer) == len(asked.top) == len(asked.times) == TOKENS
    assert all(len(place) == TOP for place in asked.top)
    reference = Reference(str(TINY), "float32")
    case = {
        "audio": str(audio),
        "prompt": asked.prompt,
        "answer": asked.answer,
        "top": asked.top,
        "backwards": True,
    }
    right = compare(reference, case)
    assert right.agrees
    assert right.difference < 1e-2
    assert right.other_audio is not None
    assert right.other_audio > 10 * right.mean_difference
    second = sorted(asked.top[5], key=asked.top[5].__getitem__)[-2]
    answer = [*asked.answer[:5], second, *asked.answer[6:]]
    wrong = compare(reference, {**case, "answer": answer, "backwards": False})
    assert not wrong.agrees
    assert wrong.behind > right.behind
    assert replace(right, same=right.same - 1, ties=0).agrees is False
