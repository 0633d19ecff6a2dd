"""The device is chosen, checked and logged; there is no silent fallback from a failing GPU."""

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.support.tts_fixtures import REALTIME, tiny

from vibevoice_tts.engines import device
from vibevoice_tts.engines.device import DeviceUnavailable, choose_device
from vibevoice_tts.engines.realtime import Realtime
from vibevoice_tts.process import WorkerUnavailable, open_worker
from vibevoice_tts.speech_model import SpeechRequest, Turn

ROOT = Path(__file__).parents[2]
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU "
    "driver by downloading and installing a new version from the URL: http://www.nvidia.com/"
)
"""The beginning of torch's message."""


def failing(error: Exception) -> Callable[[], None]:
    def init() -> None:
        raise error

    return init


def test_device_and_type_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The device is logged once, when the model is loaded."""
    with caplog.at_level(logging.INFO, "vibevoice_tts.engines.device"):
        Realtime.load(tiny("realtime", REALTIME))
    assert caplog.messages == ["vibevoice-realtime-0.5b runs on cpu in float32"]


def test_old_driver_is_told_with_the_one_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message also says how to run without a GPU."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", failing(RuntimeError(TOO_OLD)))
    with pytest.raises(DeviceUnavailable) as raised:
        choose_device(tiny("realtime", REALTIME, device="cuda"))
    assert str(raised.value) == (
        "CUDA 13.0 needs an NVIDIA driver of version 580 or newer (The NVIDIA driver on your "
        "system is too old (found version 12020)). VIBEVOICE_TTS_DEVICE=cpu runs without a "
        "GPU, but slowly."
    )


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
async def test_worker_without_its_gpu_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """With the real error of a CPU-only torch, nothing falls back to the CPU; the proxy's log,
    health check and responses say why."""
    config = tiny("realtime", REALTIME, device="cuda")
    async with open_worker(config, start_timeout=120, hang_timeout=60) as worker:
        async with asyncio.timeout(120):
            while not worker.restarts:
                await asyncio.sleep(0.02)
        assert "This torch is built without CUDA" in worker.unready_message
        with pytest.raises(WorkerUnavailable, match="VIBEVOICE_TTS_DEVICE=cpu"):
            async for _ in worker.synthesize(SpeechRequest((Turn("hello"),))):
                pass
    assert "could not start: This torch is built without CUDA" in caplog.text


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-2"])
def test_no_device_is_refused(name: str) -> None:
    """A device name unknown to torch is rejected."""
    with pytest.raises(DeviceUnavailable, match="is not a valid device"):
        choose_device(tiny("realtime", REALTIME, device=name))


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 5), torch.float32), ((8, 6), torch.bfloat16), ((12, 1), torch.bfloat16)],
)
def test_type_is_what_the_gpu_computes_in(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    """float16 is never used unless requested."""
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    cuda = torch.device("cuda")
    assert choose_device(tiny("realtime", REALTIME, device="cuda", dtype="auto")) == (cuda, dtype)
    asked = tiny("realtime", REALTIME, device="cuda", dtype="float16")
    assert choose_device(asked) == (cuda, torch.float16)
    with pytest.raises(DeviceUnavailable, match="cuda:3 does not exist; GPUs on this machine: 1"):
        choose_device(tiny("realtime", REALTIME, device="cuda:3"))


def test_drivers_are_known_for_the_images_cuda() -> None:
    """The message can name the driver for the CUDA version of the speech image's torch."""
    locked = (ROOT / "docker/requirements/speech.txt").read_text()
    versions = set(re.findall(r"^nvidia-cuda-runtime(?:-cu\d+)?==(\d+)\.", locked, re.MULTILINE))
    assert versions and versions <= device.DRIVERS.keys()


def test_speech_image_wants_a_gpu() -> None:
    """The image never uses the CPU unless configured to."""
    dockerfile = (ROOT / "docker/proxy.Dockerfile").read_text()
    assert "VIBEVOICE_TTS_DEVICE=cuda\n" in dockerfile.partition("FROM base AS speech")[2]


def test_no_preset_is_float16() -> None:
    """The weights were trained in bfloat16, which has a larger range than float16."""
    settings = [
        line
        for path in (ROOT / "docker/env").glob("*.env")
        for line in path.read_text().splitlines()
        if line.startswith("TTS_DTYPE=")
    ]
    assert not [line for line in settings if "float16" in line and "bfloat16" not in line]
