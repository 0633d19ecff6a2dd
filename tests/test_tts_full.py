"""The 1.5B engine: equal to Microsoft's code, in a batch as alone, in both layouts."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tests.tts_fixtures import FULL, FULL_SIZE, Spoken, collect, expected, request_of, speak
from transformers import VibeVoiceConfig, VibeVoiceForConditionalGeneration

from vibevoice_tts.checkpoint import CheckpointError, full_config, hf_name, read_config
from vibevoice_tts.engine import InvalidRequest, SpeechRequest, Turn, UnknownVoice
from vibevoice_tts.full import Full
from vibevoice_tts.full_model import load_full

FRAME = 20
"""Samples of one frame of the tiny model."""
CASES = expected(FULL)
SHORT = SpeechRequest((Turn("hello there", "en-Tiny_woman"),), seed=1)


def load(folder: Path) -> Full:
    return Full.load(folder, FULL / "voices", device="cpu", dtype="float32", capacity=4)


@pytest.fixture(scope="module")
def engine() -> Full:
    return load(FULL)


@pytest.fixture(autouse=True)
def nobody_stays(engine: Full) -> Iterator[None]:
    """Every test leaves the engine empty."""
    yield
    assert engine.step() == []


@pytest.mark.parametrize("case", range(len(CASES)))
def test_audio_is_that_of_microsofts_code(engine: Full, case: int) -> None:
    """Same weights, voices, script and seed give the same frames, through every begin and end of
    speech that the model chooses; their run was cut after 60 tokens."""
    asked, theirs = CASES[case]
    spoken = speak(engine, request_of(asked))
    cut = "." not in asked["tokens"]
    assert spoken.audio.size >= theirs.size if cut else spoken.audio.size == theirs.size
    difference = np.abs(spoken.audio[: theirs.size] - theirs).max()
    print(f"{difference:.1e} of {np.abs(theirs).max():.2f}")
    assert difference < 1e-4


@pytest.mark.parametrize("case", range(len(CASES)))
def test_prompt_is_that_of_microsofts_processor(
    engine: Full, case: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings and script stand in the prompt token by token as the model was trained on it."""
    asked, _ = CASES[case]
    seen: list[list[int]] = []
    embed = engine._model.embed
    monkeypatch.setattr(engine._model, "embed", lambda ids: (seen.append(ids), embed(ids))[1])
    engine.leave(engine.join(request_of(asked)))
    assert seen == [asked["prompt"]]


def test_requests_that_join_and_leave_midway_sound_as_alone(engine: Full) -> None:
    """Scripts of other voices, lengths and steps share the passes without hearing each other."""
    requests = [request_of(asked) for asked, _ in CASES]
    alone = [speak(engine, request).audio for request in requests]
    spoken: dict[int, Spoken] = {}
    handles = []
    for step in itertools.count():
        if step % 4 == 0 and len(handles) < len(requests):
            handles.append(engine.join(requests[len(handles)]))
            spoken[handles[-1]] = Spoken([])
        collect(engine.step(), spoken)
        if len(handles) == len(requests) and all(one.end for one in spoken.values()):
            break
    differences = [
        np.abs(spoken[handle].audio - audio).max()
        for handle, audio in zip(handles, alone, strict=True)
    ]
    print([f"{difference:.1e}" for difference in differences])
    assert max(differences) < 1e-4


def test_both_layouts_are_one_model(engine: Full, tmp_path: Path) -> None:
    """The checkpoint as transformers saves it speaks like the published one."""
    load_full(FULL, engine._model.device, engine._model.dtype)._model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((FULL / "tokenizer.json").read_bytes())
    assert "text_config" in json.loads((tmp_path / "config.json").read_text())
    theirs, ours = speak(engine, SHORT).audio, speak(load(tmp_path), SHORT).audio
    assert ours.size == theirs.size
    assert np.abs(ours - theirs).max() < 1e-4


def test_every_tensor_has_its_place() -> None:
    """The names of the published layout, mapped, are the names of transformers' model."""
    with safe_open(FULL / "model.safetensors", framework="np") as file:
        names = set(file.keys())
    config = VibeVoiceConfig(**full_config(read_config(FULL)))
    theirs = set(VibeVoiceForConditionalGeneration(config).state_dict())
    assert {hf_name(name) for name in names} == theirs - {"lm_head.weight"}


def test_full_size_is_the_published_model() -> None:
    """1204 tensors and 2,704,021,987 parameters."""
    config = VibeVoiceConfig(**full_config(FULL_SIZE))
    with torch.device("meta"):
        model = VibeVoiceForConditionalGeneration(config)
    sizes = {name: tensor.numel() for name, tensor in model.state_dict().items()}
    del sizes["lm_head.weight"]  # tied to the embedding
    assert len(sizes) == 1204
    assert sum(sizes.values()) == 2_704_021_987


def test_original_config_is_never_read_as_transformers_own(tmp_path: Path) -> None:
    """Neither layout's keys in config.json: no model of default sizes is built."""
    (tmp_path / "config.json").write_text('{"model_type": "vibevoice"}')
    with pytest.raises(CheckpointError, match="neither text_config nor decoder_config"):
        load(tmp_path)


def test_max_seconds_is_a_hard_end(engine: Full) -> None:
    """The speech ends with the frame that reaches the limit."""
    spoken = speak(engine, replace(SHORT, max_seconds=2.5 * FRAME / engine.sample_rate))
    assert len(spoken.chunks) == 3
    assert spoken.end and spoken.end.reason == "length"


def test_voice_is_encoded_once(engine: Full, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request with the same recording finds its features, whatever its name."""
    sample = np.random.default_rng(1).uniform(-0.3, 0.3, 72_000).astype(np.float32)
    counted: list[int] = []
    encode = engine._model.encode_voice
    monkeypatch.setattr(
        engine._model, "encode_voice", lambda samples: (counted.append(1), encode(samples))[1]
    )
    for name in ("me", "myself"):
        request = SpeechRequest((Turn("hello", name),), samples={name: sample})
        engine.leave(engine.join(request))
    assert len(counted) == 1


def test_sample_of_the_request_is_the_voice(engine: Full) -> None:
    """Another sample gives another prompt, and the same sample the same."""
    random = np.random.default_rng(1)
    first, second = random.uniform(-0.3, 0.3, (2, 72_000)).astype(np.float32)
    prompts = []
    for sample in (first, first, second):
        request = SpeechRequest((Turn("hello", "me"),), seed=1, samples={"me": sample})
        handle = engine.join(request)
        (row,) = engine._rows
        prompts.append(row.prompt)
        engine.leave(handle)
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
        pytest.param(SpeechRequest((Turn("word " * 4000),)), "has room for", id="too long"),
    ],
)
def test_bad_requests_are_refused(engine: Full, request_: SpeechRequest, message: str) -> None:
    """The message says what was expected, and nothing stays inside."""
    with pytest.raises(InvalidRequest, match=message):
        engine.join(request_)


def test_unknown_voice_is_refused(engine: Full) -> None:
    """A path is a name like any other, and no voice has it."""
    with pytest.raises(UnknownVoice):
        engine.join(SpeechRequest((Turn("hello", "/etc/passwd"),)))
