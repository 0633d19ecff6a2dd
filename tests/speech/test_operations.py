"""GPU operations and waits per frame, counted on the meta device: exact upper bounds, so that none
creep in."""

import pytest
import torch
from tests.support.device_calls import Operations, counted
from tests.support.tts_fixtures import LONGFORM, REALTIME, tiny

from vibevoice_tts.engines.longform import Longform
from vibevoice_tts.engines.realtime import SPEECH_WINDOW, Realtime
from vibevoice_tts.speech_model import Chunk, SpeechRequest, Turn

TEXT = "one two three four five six seven"
MODELS = {"realtime": (Realtime, REALTIME), "longform": (Longform, LONGFORM)}


def frames(kind: str, steps: list[int]) -> list[Operations]:
    """The operations of each frame in a window, with one request in flight per number of steps.

    On the meta device, every value is zero: no speech ends, and every token is a frame.
    """
    model_class, folder = MODELS[kind]
    model = model_class.load(tiny(kind, folder, device="meta", dtype="bfloat16"))
    window: list[Operations] = []
    with counted():
        handles = [
            model.join(SpeechRequest((Turn(TEXT, "en-Tiny_woman"),), seed=1, steps=count))
            for count in steps
        ]
        model.step()
    for _ in range(SPEECH_WINDOW):
        with counted() as operations:
            events = model.step()
        assert [event.handle for event in events if isinstance(event, Chunk)] == handles
        window.append(operations)
    return window


@pytest.mark.parametrize(
    ("kind", "steps", "kernels", "total"),
    [
        pytest.param("realtime", [5], 326, 631, id="0.5b-1"),
        pytest.param("realtime", [5, 5], 328, 632, id="0.5b-2"),
        pytest.param("realtime", [5, 2], 401, 747, id="0.5b-mixed"),
        pytest.param("longform", [5], 396, 790, id="1.5b-1"),
        pytest.param("longform", [5, 5], 398, 791, id="1.5b-2"),
        pytest.param("longform", [5, 2], 471, 906, id="1.5b-mixed"),
    ],
)
def test_a_frame_asks_no_more_of_the_device(
    kind: str, steps: list[int], kernels: int, total: int
) -> None:
    """The host waits only for the audio and for whether there is a next frame; it does not wait for
    uploads."""
    window = frames(kind, steps)
    assert [operations.waits.total() for operations in window] == [2] * SPEECH_WINDOW
    assert {kind for operations in window for kind in +operations.waits} == {"an answer"}
    speech = window[:-1]  # the Realtime model reads text before the last one
    assert max(operations.kernels for operations in speech) <= kernels
    assert max(operations.total for operations in speech) <= total
    # noise and lengths; before the first frame of the window also the slots of its rows
    assert [operations.uploads for operations in speech] == [3, 2, 2, 2, 2]


def test_reading_text_asks_no_more_of_the_device() -> None:
    """Once per window, five tokens go through both parts of the Realtime model."""
    *_, last = frames("realtime", [5])
    assert last.kernels <= 530
    assert last.total <= 1048
    assert last.uploads == 5


@pytest.mark.parametrize("kind", MODELS)
def test_slots_out_of_order_cost_no_wait(kind: str) -> None:
    """When a request in the middle has left, the others are gathered on the device."""
    model_class, folder = MODELS[kind]
    model = model_class.load(tiny(kind, folder, device="meta"))
    with counted():
        handles = [
            model.join(SpeechRequest((Turn(TEXT, "en-Tiny_woman"),), seed=1)) for _ in range(3)
        ]
        model.step()
        model.leave(handles[1])
        model.step()
    with counted() as operations:
        assert len([event for event in model.step() if isinstance(event, Chunk)]) == 2
    assert operations.waits.total() == 2


def test_the_counter_sees_every_kind_of_wait() -> None:
    """Each kind of wait blocks the host until the GPU has finished all its work."""
    device = torch.device("meta")
    values = torch.empty(4, 2, device=device)
    with counted() as operations, torch.inference_mode():
        values[[0, 1]] = values[[2, 3]]  # indices: a list, read and written
        values[torch.tensor([1])]  # an index on the host
        torch.tensor([1], device=device)
        torch.zeros(2).to(device)
        values.copy_(torch.zeros(4, 2))
        values.cpu()
        values.tolist()
        values.sum().item()
    assert dict(operations.waits) == {"an index": 3, "an upload": 3, "an answer": 3}
    index = torch.empty(1, dtype=torch.int64, device=device)
    with counted() as operations, torch.inference_mode():
        torch.zeros(2).to(device, non_blocking=True)
        values.index_select(0, index)
        values[0].unsqueeze(0)[1:]
    assert (operations.waits.total(), operations.uploads, operations.kernels) == (0, 1, 1)
