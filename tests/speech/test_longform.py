"""The 1.5B model equals Microsoft's code, alone and in a batch, in both layouts."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tests.support.tts_fixtures import (
    LONGFORM,
    LONGFORM_SIZE,
    Spoken,
    collect,
    expected,
    request_of,
    speak,
    tiny,
)
from transformers import VibeVoiceConfig, VibeVoiceForConditionalGeneration

from vibevoice_tts.engines.layout import hf_name, longform_config
from vibevoice_tts.engines.loading import CheckpointError, read_config
from vibevoice_tts.engines.longform import EXTRA_FRAMES, FRAMES_PER_WORD, Longform
from vibevoice_tts.engines.longform_model import LongformModel, load_longform
from vibevoice_tts.engines.longform_prompt import BEGIN, FRAME
from vibevoice_tts.speech_model import SpeechRejected, SpeechRequest, Turn, UnknownVoice

CASES = expected(LONGFORM)
SHORT = SpeechRequest((Turn("hello there", "en-Tiny_woman"),), seed=1)
MAX_FRAMES = 2 * FRAMES_PER_WORD + EXTRA_FRAMES
"""Limit for the two words of SHORT."""


def load(folder: Path) -> Longform:
    return Longform.load(tiny("longform", folder, voices=str(LONGFORM / "voices")))


@pytest.fixture(scope="module")
def model() -> Longform:
    return load(LONGFORM)


@pytest.fixture(autouse=True)
def no_request_stays(model: Longform) -> Iterator[None]:
    """Check that every test leaves no request in flight."""
    yield
    assert model.step() == []


@pytest.mark.parametrize("case", range(len(CASES)))
def test_audio_is_that_of_microsofts_code(model: Longform, case: int) -> None:
    """The same weights, voices, script and seed give the same frames, including every start and end
    of speech that the model chooses; the reference run was cut after 60 tokens."""
    asked, theirs = CASES[case]
    spoken = speak(model, request_of(asked))
    cut = "." not in asked["tokens"]
    assert spoken.audio.size >= theirs.size if cut else spoken.audio.size == theirs.size
    difference = np.abs(spoken.audio[: theirs.size] - theirs).max()
    print(f"{difference:.1e} of {np.abs(theirs).max():.2f}")
    assert difference < 1e-4


@pytest.mark.parametrize("case", range(len(CASES)))
def test_prompt_is_that_of_microsofts_processor(
    model: Longform, case: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings and script are in the prompt token by token as in training."""
    asked, _ = CASES[case]
    seen: list[list[int]] = []
    embed = LongformModel.embed
    monkeypatch.setattr(
        LongformModel, "embed", lambda self, ids: (seen.append(ids.tolist()), embed(self, ids))[1]
    )
    model.leave(model.join(request_of(asked)))
    assert seen == [asked["prompt"]]


def test_requests_that_join_and_leave_midway_sound_as_alone(model: Longform) -> None:
    """Scripts with different voices, lengths and steps share the passes without affecting each
    other."""
    requests = [request_of(asked) for asked, _ in CASES]
    alone = [speak(model, request).audio for request in requests]
    spoken: dict[int, Spoken] = {}
    handles = []
    for step in itertools.count():
        if step % 4 == 0 and len(handles) < len(requests):
            handles.append(model.join(requests[len(handles)]))
            spoken[handles[-1]] = Spoken([])
        collect(model.step(), spoken)
        if len(handles) == len(requests) and all(one.end for one in spoken.values()):
            break
    differences = [
        np.abs(spoken[handle].audio - audio).max()
        for handle, audio in zip(handles, alone, strict=True)
    ]
    print([f"{difference:.1e}" for difference in differences])
    assert max(differences) < 1e-4


def test_both_layouts_are_one_model(model: Longform, tmp_path: Path) -> None:
    """The checkpoint as saved by transformers speaks like the published one."""
    load_longform(tiny("longform", LONGFORM))._model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((LONGFORM / "tokenizer.json").read_bytes())
    assert "text_config" in json.loads((tmp_path / "config.json").read_text())
    theirs, ours = speak(model, SHORT).audio, speak(load(tmp_path), SHORT).audio
    assert ours.size == theirs.size
    assert np.abs(ours - theirs).max() < 1e-4


def test_every_tensor_has_its_place() -> None:
    """The mapped names of the published layout are the names in transformers' model."""
    with safe_open(LONGFORM / "model.safetensors", framework="np") as file:
        names = set(file.keys())
    config = VibeVoiceConfig(**longform_config(read_config(LONGFORM)))
    theirs = set(VibeVoiceForConditionalGeneration(config).state_dict())
    assert {hf_name(name) for name in names} == theirs - {"lm_head.weight"}


def test_full_size_is_the_published_model() -> None:
    """1204 tensors and 2,704,021,987 parameters."""
    config = VibeVoiceConfig(**longform_config(LONGFORM_SIZE))
    with torch.device("meta"):
        model = VibeVoiceForConditionalGeneration(config)
    sizes = {name: tensor.numel() for name, tensor in model.state_dict().items()}
    del sizes["lm_head.weight"]  # tied to the embedding
    assert len(sizes) == 1204
    assert sum(sizes.values()) == 2_704_021_987


def test_original_config_is_never_read_as_transformers_own(tmp_path: Path) -> None:
    """If config.json has the keys of neither layout, no model with default sizes is built."""
    (tmp_path / "config.json").write_text('{"model_type": "vibevoice"}')
    with pytest.raises(CheckpointError, match="neither text_config nor decoder_config"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("token", "tokens", "frames"),
    [
        pytest.param(FRAME, MAX_FRAMES, MAX_FRAMES, id="frames"),
        pytest.param(BEGIN, MAX_FRAMES + EXTRA_FRAMES, 0, id="no frames"),
    ],
)
def test_runaway_speech_is_cut(
    model: Longform, monkeypatch: pytest.MonkeyPatch, token: int, tokens: int, frames: int
) -> None:
    """A model that never ends is stopped after the maximum frames for two words, or a little later
    if it outputs other tokens."""
    chosen: list[int] = []

    def choose(_: LongformModel, hidden: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
        chosen.append(token)
        return torch.full(hidden.shape[:1], token)

    monkeypatch.setattr(LongformModel, "choose", choose)
    spoken = speak(model, SHORT)
    assert (len(chosen), len(spoken.chunks)) == (tokens, frames)
    assert spoken.end and spoken.end.reason == "length"


def test_speech_ends_with_the_context(model: Longform, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that never ends is stopped when its context is full."""
    asked, _ = CASES[0]
    monkeypatch.setattr(model, "_max_positions", len(asked["prompt"]) + EXTRA_FRAMES)
    monkeypatch.setattr(
        LongformModel, "choose", lambda _, hidden, __: torch.full(hidden.shape[:1], FRAME)
    )
    spoken = speak(model, request_of(asked))
    assert len(spoken.chunks) == EXTRA_FRAMES + 1 < MAX_FRAMES
    assert spoken.end and spoken.end.reason == "length"


def test_voice_is_encoded_once(model: Longform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request with the same recording finds the cached features, whatever its name."""
    sample = np.random.default_rng(1).uniform(-0.3, 0.3, 72_000).astype(np.float32)
    counted: list[int] = []
    encode = LongformModel.encode_voice
    monkeypatch.setattr(
        LongformModel,
        "encode_voice",
        lambda self, samples: (counted.append(1), encode(self, samples))[1],
    )
    for name in ("me", "myself"):
        request = SpeechRequest((Turn("hello", name),), samples={name: sample})
        model.leave(model.join(request))
    assert len(counted) == 1


def test_sample_of_the_request_is_the_voice(model: Longform) -> None:
    """A different sample gives a different prompt; the same sample gives the same prompt."""
    random = np.random.default_rng(1)
    first, second = random.uniform(-0.3, 0.3, (2, 72_000)).astype(np.float32)
    prompts = []
    for sample in (first, first, second):
        request = SpeechRequest((Turn("hello", "me"),), seed=1, samples={"me": sample})
        handle = model.join(request)
        (row,) = model._rows
        prompts.append(row.prompt)
        model.leave(handle)
    assert all(prompt is not None for prompt in prompts)
    assert prompts[0].equal(prompts[1])
    assert not prompts[0].equal(prompts[2])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        pytest.param(SpeechRequest((Turn(" "),)), "empty", id="empty turn"),
        pytest.param(
            SpeechRequest(
                tuple(Turn("a", str(n)) for n in range(5)),
                samples={
                    str(n): np.random.default_rng(n).uniform(-1, 1, 72_000).astype(np.float32)
                    for n in range(5)
                },
            ),
            "up to 4 voices",
            id="five voices",
        ),
        pytest.param(
            SpeechRequest((Turn("a", "me"),), samples={"me": np.ones(24_000, np.float32)}),
            r"has 1\.0 s of speech",
            id="short sample",
        ),
        pytest.param(SpeechRequest((Turn("word " * 4000),)), "accepts at most", id="too long"),
    ],
)
def test_bad_requests_are_refused(model: Longform, request_: SpeechRequest, message: str) -> None:
    """The message says what was expected, and the request is not in flight."""
    with pytest.raises(SpeechRejected, match=message):
        model.join(request_)


def test_unknown_voice_is_refused(model: Longform) -> None:
    """A path is treated like any other name, and no voice has it."""
    with pytest.raises(UnknownVoice):
        model.join(SpeechRequest((Turn("hello", "/etc/passwd"),)))
