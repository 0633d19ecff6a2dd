"""Resamples decoded frames of any rate, sample format, and channel count to mono at 24 kHz."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.error import FFmpegError
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.errors import DecodeError, undecodable
from vibevoice_core.mixing import Mixer

SAMPLE_RATES = range(1_000, 3_000_001)
"""Accepted sampling rates in Hz, up to DSD512. A forged rate would turn one small packet into hours
of audio: audio at 1 Hz is resampled 24,000-fold."""
BATCH_SECONDS = 1.0
"""Length of audio mixed at once; a decoder's own frames are only a few milliseconds long."""
_SCALES = {"u8": (2.0**-7, 128), "s16": (2.0**-15, 0), "s32": (2.0**-31, 0), "s64": (2.0**-63, 0)}
"""Scale and offset of FFmpeg's integer formats."""
_PLANES = 8
"""FFmpeg's AV_NUM_DATA_POINTERS. PyAV takes the first null pointer for the end of a frame's planes.
A frame with this many planes has no null pointer, so PyAV would read past the end and crash."""
_RESAMPLER_FORMATS = {np.int16: "s16", np.float32: "flt"}

Sample = TypeVar("Sample", np.int16, np.float32)


@dataclass
class Levels:
    """Measured levels of a recording."""

    peak: float = 0.0
    """Absolute peak, with full scale 1.0; measured only while `is_fine`."""
    is_fine: bool = False
    """Whether samples are stored losslessly with more than 16 bits."""


class Resampler(Generic[Sample]):
    """Resamples the frames of a stream, whose rate and channels may change midway."""

    def __init__(
        self, dtype: type[Sample], *, gain: float, is_lossless: bool, levels: Levels
    ) -> None:
        """`gain` is applied to samples of more than 16 bits; `is_lossless` says whether the codec
        is lossless."""
        self._dtype = dtype
        self._gain = gain
        self._is_lossless = is_lossless
        self._levels = levels
        self._kind: tuple[str, str, int] | None = None
        self._resampler: AudioResampler | None = None
        self._mixer: Mixer | None = None
        self._packer: AudioResampler | None = None
        self._batch: list[NDArray[np.float32]] = []
        self._batch_samples = 0
        self._rate = 0

    def feed(self, frame: AudioFrame) -> list[NDArray[Sample]]:
        """Return the blocks of shape (samples,) that are complete.

        Raises:
            DecodeError: the rate is outside SAMPLE_RATES, or samples are NaN or infinite.
        """
        blocks: list[NDArray[Sample]] = []
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            blocks = self.flush()
            self._start(frame)
            self._kind = kind
        is_float = frame.format.name.startswith(("flt", "dbl"))
        if self._mixer is None and not is_float:
            return blocks + self._resample(frame)
        samples = channels_of(_packed(frame, self._packer) if self._packer else frame)
        if is_float and not np.isfinite(samples).all():
            raise DecodeError(
                "The recording contains samples that are not finite (NaN or infinity)."
            )
        if self._mixer is None:
            return blocks + self._resample(frame)
        self._batch.append(samples)
        self._batch_samples += samples.shape[1]
        if self._batch_samples >= BATCH_SECONDS * self._rate:
            blocks += self._mix()
        return blocks

    def flush(self) -> list[NDArray[Sample]]:
        """Return the remaining blocks of everything fed so far; the next frame starts over."""
        if self._resampler is None:
            return []
        blocks = [*self._mix(), *self._resample(None)]
        self._kind = self._resampler = None
        return blocks

    def _start(self, frame: AudioFrame) -> None:
        rate, channels = frame.sample_rate, [channel.name for channel in frame.layout.channels]
        if rate not in SAMPLE_RATES:
            raise DecodeError(
                f"The recording has a sampling rate of {rate} Hz; expected "
                f"{SAMPLE_RATES.start} to {SAMPLE_RATES.stop - 1}."
            )
        is_fine = self._is_lossless and frame.format.bytes > 2
        self._levels.is_fine = self._levels.is_fine or is_fine
        is_plain = len(channels) == 1 and not is_fine
        self._mixer = None if is_plain else Mixer(channels, rate)
        self._rate = rate
        is_readable = _is_readable(frame)
        self._packer = None if is_readable else AudioResampler("flt", frame.layout, rate)
        sample_format = _RESAMPLER_FORMATS[self._dtype] if is_plain else "flt"
        self._resampler = AudioResampler(format=sample_format, layout="mono", rate=SAMPLE_RATE)

    def _mix(self) -> list[NDArray[Sample]]:
        if not self._batch or self._mixer is None:
            return []
        mono = self._mixer.mix(np.concatenate(self._batch, axis=1))
        self._batch, self._batch_samples = [], 0
        frame = AudioFrame.from_ndarray(mono[None], format="flt", layout="mono")
        frame.sample_rate = self._rate
        return self._resample(frame)

    def _resample(self, frame: AudioFrame | None) -> list[NDArray[Sample]]:
        assert self._resampler is not None
        if frame is not None:
            frame.pts = None  # the timeline handles positions
        try:
            resampled = self._resampler.resample(frame)
        except (FFmpegError, ValueError) as error:
            raise undecodable() from error
        return [self._finished(out.to_ndarray()[0]) for out in resampled if out.samples]

    def _finished(self, samples: NDArray[np.float32] | NDArray[Sample]) -> NDArray[Sample]:
        if self._mixer is None:
            return samples  # type: ignore[return-value]  # the resampler has converted them
        if self._levels.is_fine:
            self._levels.peak = max(self._levels.peak, float(np.abs(samples).max()))
            samples = samples * np.float32(self._gain)
        if self._dtype is np.float32:
            return samples  # type: ignore[return-value]
        return np.clip(np.rint(samples * 32768), -32768, 32767).astype(self._dtype)


def channels_of(frame: AudioFrame) -> NDArray[np.float32]:
    """The samples of a frame as float32 with full scale 1.0, shape (channels, samples)."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    scale, offset = _SCALES.get(frame.format.packed.name, (1.0, 0.0))
    converted: NDArray[np.float32] = samples.astype(np.float32)
    if scale != 1.0:
        converted = (converted - np.float32(offset)) * np.float32(scale)
    return converted


def _is_readable(frame: AudioFrame) -> bool:
    """Whether PyAV converts the samples of a frame to NumPy."""
    has_many_planes = frame.format.is_planar and frame.layout.nb_channels >= _PLANES
    return not has_many_planes and frame.format.packed.name != "s64"


def _packed(frame: AudioFrame, packer: AudioResampler) -> AudioFrame:
    """The same samples as float32 in a single plane. Raises DecodeError."""
    frame.pts = None  # the timeline handles positions
    try:
        [packed] = packer.resample(frame)
    except (FFmpegError, ValueError) as error:
        raise undecodable() from error
    return packed
