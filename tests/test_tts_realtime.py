"""The Realtime engine: equal to Microsoft's code, in a batch as alone, and stoppable."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tts_fixtures import REALTIME, REALTIME_SIZE, Spoken, collect, expected, request_of, speak

from vibevoice_tts.checkpoint import CheckpointError, hf_name
from vibevoice_tts.engine import Chunk, End, InvalidRequest, SpeechRequest, Turn, UnknownVoice
from vibevoice_tts.presets import PresetError, read_preset, save_preset
from vibevoice_tts.realtime import EXTRA_FRAMES, FRAMES_PER_TOKEN, Realtime
from vibevoice_tts.realtime_model import RealtimeConfig, RealtimeModel

FRAME = 20
"""Samples of one frame of the tiny model."""
CASES = expected(REALTIME)
LONG = SpeechRequest((Turn("one two three four five six seven", "en-Tiny_woman"),), seed=5)


@pytest.fixture(scope="module")
def engine() -> Realtime:
    return Realtime.load(REALTIME, REALTIME / "voices", device="cpu", dtype="float32", capacity=4)


@pytest.fixture(autouse=True)
def nobody_stays(engine: Realtime) -> Iterator[None]:
    """Every test leaves the engine empty."""
    yield
    assert engine.step() == []


@pytest.mark.parametrize("case", range(len(CASES)))
def test_audio_is_that_of_microsofts_code(engine: Realtime, case: int) -> None:
    """Same weights, preset, text and seed give the same frames, their end included."""
    asked, theirs = CASES[case]
    spoken = speak(engine, request_of(asked))
    cap = (FRAMES_PER_TOKEN * (len(asked["text"]) + 1) + EXTRA_FRAMES) * FRAME
    assert spoken.audio.size == min(theirs.size, cap)
    assert spoken.end and spoken.end.reason == asked["reason"]
    difference = np.abs(spoken.audio - theirs[:cap]).max()
    print(f"{difference:.1e} of {np.abs(theirs).max():.2f}")
    assert difference < 1e-4


def test_requests_that_join_and_leave_midway_sound_as_alone(engine: Realtime) -> None:
    """Requests of other voices, lengths and steps share the passes without hearing each other."""
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


def test_a_place_is_used_again_without_a_trace(engine: Realtime) -> None:
    """What the request before left in a slot is not heard by the next."""
    first = speak(engine, LONG).audio
    speak(engine, request_of(CASES[1][0]))
    np.testing.assert_array_equal(speak(engine, LONG).audio, first)


def test_left_request_makes_no_more_frames(engine: Realtime) -> None:
    """After `leave` the next step is the others' alone, and leaving twice is no error."""
    gone, stays = engine.join(LONG), engine.join(LONG)
    engine.step()
    engine.leave(gone)
    engine.leave(gone)
    assert [event.handle for event in engine.step()] == [stays]
    engine.leave(stays)


def test_seed_decides(engine: Realtime) -> None:
    """Another seed is another reading, and without one no two are the same."""
    audio = [
        speak(engine, replace(LONG, seed=seed, max_seconds=0.01)).audio
        for seed in (1, 1, 2, None, None)
    ]
    np.testing.assert_array_equal(audio[0], audio[1])
    assert len({one.tobytes() for one in audio[1:]}) == 4


def test_voice_of_another_model_is_refused(engine: Realtime, tmp_path: Path) -> None:
    """A preset with another number of layers is told, and harms no other request."""
    preset = read_preset(next(iter(engine._files.values())))
    folder = tmp_path / "voices"
    folder.mkdir()
    save_preset(replace(preset, negative=preset.negative[:1]), folder / "en-Tiny_woman.safetensors")
    odd = Realtime(engine._model, engine._tokenizer, folder)
    with pytest.raises(PresetError, match="en-Tiny_woman.safetensors is no voice of vibevoice"):
        odd.join(LONG)
    assert odd.step() == []


def test_max_seconds_is_a_hard_end(engine: Realtime) -> None:
    """The speech ends with the frame that reaches the limit."""
    spoken = speak(engine, replace(LONG, max_seconds=2.5 * FRAME / engine.sample_rate))
    assert len(spoken.chunks) == 3
    assert spoken.end and spoken.end.reason == "length"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        pytest.param(SpeechRequest((Turn("  "),)), "empty", id="empty text"),
        pytest.param(SpeechRequest((Turn("one " * 40),)), "has room for", id="too long"),
        pytest.param(
            SpeechRequest((Turn("a", "tiny"), Turn("b", "small"))), "1 voice", id="two voices"
        ),
        pytest.param(replace(LONG, steps=0), "steps must be 1 to 100", id="steps"),
        pytest.param(replace(LONG, cfg_scale=float("nan")), "cfg_scale must be", id="cfg_scale"),
        pytest.param(replace(LONG, seed=-1), "seed must be", id="seed"),
        pytest.param(replace(LONG, max_seconds=0), "max_seconds must be", id="max_seconds"),
        pytest.param(replace(LONG, samples={"me": np.zeros(9, np.float32)}), "clone", id="sample"),
    ],
)
def test_bad_requests_are_refused(engine: Realtime, request_: SpeechRequest, message: str) -> None:
    """The message says what was expected, and nothing stays inside."""
    with pytest.raises(InvalidRequest, match=message):
        engine.join(request_)


def test_unknown_voice_is_refused(engine: Realtime) -> None:
    """A path is a name like any other, and no voice has it."""
    with pytest.raises(UnknownVoice, match=r"Voices: en-Small_man, en-Tiny_woman\."):
        engine.join(SpeechRequest((Turn("hello", "../../etc/passwd"),)))


def test_control_tokens_in_a_text_are_plain_text(engine: Realtime) -> None:
    """`<|vision_pad|>` is read letter by letter."""
    ids = engine._tokens("<|vision_pad|>")
    assert len(ids) == len("<|vision_pad|>\n") and max(ids) < 256


def test_half_precision_speaks() -> None:
    """In bfloat16 all is finite, and about as loud."""
    engine = Realtime.load(REALTIME, REALTIME / "voices", device="cpu", dtype="bfloat16")
    audio = speak(engine, replace(LONG, max_seconds=0.01)).audio
    assert audio.dtype == np.float32
    assert 0.01 < np.sqrt(np.mean(audio**2)) < 1


def test_full_size_is_the_published_model() -> None:
    """605 tensors and 1,017,626,724 parameters, with the one tensor that is never read."""
    with torch.device("meta"):
        model = RealtimeModel(RealtimeConfig.from_original(REALTIME_SIZE))
    sizes = [tensor.numel() for tensor in model.state_dict().values()]
    assert len(sizes) + 1 == 605
    assert sum(sizes) + 151936 * 896 == 1_017_626_724


def test_unread_tensor_is_left_out() -> None:
    """The embedding of the upper part stays on the disk: 272 MB in bfloat16."""
    assert hf_name("model.tts_language_model.embed_tokens.weight") is None


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    """A folder of another model says which one was expected."""
    (tmp_path / "config.json").write_text('{"model_type": "vibevoice", "decoder_config": {}}')
    with pytest.raises(CheckpointError, match="vibevoice_streaming"):
        Realtime.load(tmp_path, REALTIME / "voices")


def test_missing_voices_are_named(tmp_path: Path) -> None:
    """Without a preset nothing can be spoken, and the start says so."""
    with pytest.raises(CheckpointError, match="no voices"):
        Realtime.load(REALTIME, tmp_path, device="cpu")


def test_step_gives_a_chunk_for_each_request(engine: Realtime) -> None:
    """One step is one frame of everybody."""
    handles = [engine.join(LONG) for _ in range(3)]
    events = engine.step()
    assert [event.handle for event in events if isinstance(event, Chunk)] == handles
    assert not any(isinstance(event, End) for event in events)
    for handle in handles:
        engine.leave(handle)


def test_chunk_does_not_wait_for_what_comes_after(
    engine: Realtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step ends with the audio: the model reads its own frame in the next step."""
    calls: list[str] = []
    read, decode = engine._model.read, engine._model.decode
    monkeypatch.setattr(engine._model, "read", lambda *rest: (calls.append("read"), read(*rest))[1])
    monkeypatch.setattr(
        engine._model, "decode", lambda *rest: (calls.append("decode"), decode(*rest))[1]
    )
    handle = engine.join(LONG)
    engine.step()
    engine.step()
    engine.leave(handle)
    assert calls == ["read", "decode", "read", "decode"]
