"""The Realtime model equals Microsoft's code, alone and in a batch, and can be stopped."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.tts_fixtures import (
    REALTIME,
    REALTIME_SIZE,
    Spoken,
    collect,
    expected,
    request_of,
    speak,
    speak_start,
    tiny,
)

from vibevoice_tts.engines.layout import hf_name
from vibevoice_tts.engines.loading import CheckpointError
from vibevoice_tts.engines.presets import PresetError, read_preset, save_preset
from vibevoice_tts.engines.realtime import EXTRA_FRAMES, FRAMES_PER_TOKEN, Realtime
from vibevoice_tts.engines.realtime_model import EosClassifier, RealtimeConfig, RealtimeModel
from vibevoice_tts.speech_model import Chunk, End, SpeechRejected, SpeechRequest, Turn, UnknownVoice

FRAME = 20
"""Samples per frame of the tiny model."""
CASES = expected(REALTIME)
LONG = SpeechRequest((Turn("one two three four five six seven", "en-Tiny_woman"),), seed=5)


@pytest.fixture(scope="module")
def model() -> Realtime:
    return Realtime.load(tiny("realtime", REALTIME))


@pytest.fixture(autouse=True)
def no_request_stays(model: Realtime) -> Iterator[None]:
    """Check that every test leaves no request in flight."""
    yield
    assert model.step() == []


@pytest.mark.parametrize("case", range(len(CASES)))
def test_audio_is_that_of_microsofts_code(model: Realtime, case: int) -> None:
    """The same weights, preset, text and seed give the same frames, including the end."""
    asked, theirs = CASES[case]
    spoken = speak(model, request_of(asked))
    cap = (FRAMES_PER_TOKEN * (len(asked["text"]) + 1) + EXTRA_FRAMES) * FRAME
    assert spoken.audio.size == min(theirs.size, cap)
    assert spoken.end and spoken.end.reason == asked["reason"]
    difference = np.abs(spoken.audio - theirs[:cap]).max()
    print(f"{difference:.1e} of {np.abs(theirs).max():.2f}")
    assert difference < 1e-4


def test_requests_that_join_and_leave_midway_sound_as_alone(model: Realtime) -> None:
    """Requests with different voices, lengths and steps share the passes without affecting each
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


def test_slot_is_used_again_without_a_trace(model: Realtime) -> None:
    """The state of the previous request in a slot does not affect the next one."""
    first = speak(model, LONG).audio
    speak(model, request_of(CASES[1][0]))
    np.testing.assert_array_equal(speak(model, LONG).audio, first)


def test_left_request_makes_no_more_frames(model: Realtime) -> None:
    """After `leave`, the next step only has the other requests; leaving twice is not an error."""
    gone, stays = model.join(LONG), model.join(LONG)
    model.step()
    model.leave(gone)
    model.leave(gone)
    assert [event.handle for event in model.step()] == [stays]
    model.leave(stays)


def test_seed_decides(model: Realtime) -> None:
    """Another seed gives different audio, and without a seed it differs every time."""
    # one chunk: about one seed in a dozen ends this speech before the twelfth
    audio = [
        speak_start(model, replace(LONG, seed=seed), chunks=1) for seed in (1, 1, 2, None, None)
    ]
    np.testing.assert_array_equal(audio[0], audio[1])
    assert len({one.tobytes() for one in audio[1:]}) == 4


def test_voice_of_another_model_is_refused(model: Realtime, tmp_path: Path) -> None:
    """A preset with a different number of layers is reported and does not affect other requests."""
    preset = read_preset(REALTIME / "voices" / "en-Tiny_woman.pt", None)
    odd = replace(preset, negative=preset.negative[:1])
    save_preset(odd, tmp_path / "en-Tiny_woman.safetensors")
    other = Realtime.load(tiny("realtime", REALTIME, voices=str(tmp_path)))
    with pytest.raises(PresetError, match="en-Tiny_woman.safetensors is not a voice for vibevoice"):
        other.join(LONG)
    assert other.step() == []


def test_runaway_speech_is_cut(model: Realtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that never ends is stopped after the maximum frames for its text."""
    monkeypatch.setattr(
        EosClassifier, "forward", lambda _, hidden: torch.full(hidden.shape[:1], -9)
    )
    spoken = speak(model, SpeechRequest((Turn("hi", "en-Tiny_woman"),)))
    assert len(spoken.chunks) == FRAMES_PER_TOKEN * len("hi\n") + EXTRA_FRAMES
    assert spoken.end and spoken.end.reason == "length"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        pytest.param(SpeechRequest((Turn("  "),)), "empty", id="empty text"),
        pytest.param(SpeechRequest((Turn("one " * 40),)), "accepts at most", id="too long"),
        pytest.param(
            SpeechRequest((Turn("a", "tiny"), Turn("b", "small"))), "1 voice", id="two voices"
        ),
        pytest.param(replace(LONG, steps=0), "steps must be 1 to 100", id="steps"),
        pytest.param(replace(LONG, cfg_scale=float("nan")), "cfg_scale must be", id="cfg_scale"),
        pytest.param(replace(LONG, seed=-1), "seed must be", id="seed"),
        pytest.param(replace(LONG, samples={"me": np.zeros(9, np.float32)}), "clone", id="sample"),
    ],
)
def test_bad_requests_are_refused(model: Realtime, request_: SpeechRequest, message: str) -> None:
    """The message says what was expected, and the request is not in flight."""
    with pytest.raises(SpeechRejected, match=message):
        model.join(request_)


def test_unknown_voice_is_refused(model: Realtime) -> None:
    """A path is treated like any other name, and no voice has it."""
    with pytest.raises(UnknownVoice, match=r"Voices: en-Small_man, en-Tiny_woman\."):
        model.join(SpeechRequest((Turn("hello", "../../etc/passwd"),)))


def test_control_tokens_in_a_text_are_plain_text(model: Realtime) -> None:
    """`<|vision_pad|>` is read letter by letter."""
    ids = model._tokenize("<|vision_pad|>")
    assert len(ids) == len("<|vision_pad|>\n") and max(ids) < 256


def test_half_precision_speaks() -> None:
    """In bfloat16, all samples are finite and about as loud."""
    half = Realtime.load(tiny("realtime", REALTIME, dtype="bfloat16"))
    audio = speak_start(half, LONG, chunks=12)
    assert audio.dtype == np.float32
    assert 0.01 < np.sqrt(np.mean(audio**2)) < 1


def test_full_size_is_the_published_model() -> None:
    """605 tensors and 1,017,626,724 parameters, including the one tensor that is never read."""
    with torch.device("meta"):
        model = RealtimeModel(RealtimeConfig.from_original(REALTIME_SIZE, "sdpa"))
    sizes = [tensor.numel() for tensor in model.state_dict().values()]
    assert len(sizes) + 1 == 605
    assert sum(sizes) + 151936 * 896 == 1_017_626_724


def test_unread_tensor_is_left_out() -> None:
    """The embedding of the upper part, 272 MB in bfloat16, is not loaded."""
    assert hf_name("model.tts_language_model.embed_tokens.weight") is None


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    """For another model's folder, the error says which one was expected."""
    (tmp_path / "config.json").write_text('{"model_type": "vibevoice", "decoder_config": {}}')
    with pytest.raises(CheckpointError, match="vibevoice_streaming"):
        Realtime.load(tiny("realtime", tmp_path))


def test_missing_voices_are_named(tmp_path: Path) -> None:
    """Without presets, loading fails and says so."""
    with pytest.raises(CheckpointError, match="no voices"):
        Realtime.load(tiny("realtime", REALTIME, voices=str(tmp_path)))


def test_step_gives_a_chunk_for_each_request(model: Realtime) -> None:
    """One step is one frame of every request."""
    handles = [model.join(LONG) for _ in range(3)]
    events = model.step()
    assert [event.handle for event in events if isinstance(event, Chunk)] == handles
    assert not any(isinstance(event, End) for event in events)
    for handle in handles:
        model.leave(handle)


def test_chunk_does_not_wait_for_what_comes_after(
    model: Realtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step ends with the audio; the model reads its own frame in the next step."""
    calls: list[str] = []
    read, decode = RealtimeModel.read, RealtimeModel.decode
    monkeypatch.setattr(RealtimeModel, "read", lambda *rest: (calls.append("read"), read(*rest))[1])
    monkeypatch.setattr(
        RealtimeModel, "decode", lambda *rest: (calls.append("decode"), decode(*rest))[1]
    )
    handle = model.join(LONG)
    model.step()
    model.step()
    model.leave(handle)
    assert calls == ["read", "decode", "read", "decode"]
