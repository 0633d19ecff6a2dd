"""Untrusted audio in any common container and codec → mono samples at 24 kHz, within limits.

The content decides what a file is, never its name. Decoding goes packet by packet, so memory use
does not depend on the length, and everything that a hostile file could claim is bounded: the
demuxers, the protocols (none), the sampling rate, the decoded seconds and the time taken.
"""

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE

SAMPLE_RATES = range(1_000, 768_001)
"""Accepted rates in Hz. A forged rate would turn one small packet into hours of audio: 1 Hz is
resampled 24,000-fold."""

# No playlists, `concat`, SDP and the like: those open files and sockets of their own.
_DEMUXERS = (
    "aac,ac3,eac3,aiff,amr,ape,asf,au,avi,caf,flac,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,"
    "mpeg,mpegts,ogg,tta,w64,wav,wv"
)
_OPEN_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "pipe"}
# By default FFmpeg searches every WAV file for DTS, which takes 8 to 26 ms, and cuts it into
# packets of 43 to 85 ms, each of which costs time here.
_WAV_OPTIONS = {**_OPEN_OPTIONS, "max_probe_packets": "1", "max_size": "32768"}
_FORMATS = {np.int16: "s16", np.float32: "flt"}

Sample = TypeVar("Sample", np.int16, np.float32)


class DecodeError(ValueError):
    """The audio cannot be decoded within the limits; the message is fit for a client."""

    code = "invalid_audio"


class AudioTooLong(DecodeError):
    """There is more audio than the caller accepts."""

    code = "audio_too_long"


class AudioTooComplex(DecodeError):
    """Decoding took longer than the caller accepts."""

    code = "audio_too_complex"


def decode(
    source: BinaryIO,
    dtype: type[Sample],
    *,
    max_seconds: float,
    timeout: float,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Iterator[NDArray[Sample]]:
    """Decode the first audio stream of `source`, a seekable file.

    Corrupt packets are skipped, as ffmpeg does; a damaged file ends where it stops making sense.

    Args:
        dtype: `np.int16`, scaled so that mixing down cannot clip, or `np.float32`, nominally
            within -1..1.
        max_seconds: limit on the decoded audio.
        timeout: limit in seconds on the time from the first block to the last.
        check_cancelled: called for every packet; may raise to stop the work.

    Yields:
        Blocks of mono 24 kHz audio, shape (samples,), none of them empty.

    Raises:
        AudioTooLong: more than `max_seconds` of audio.
        AudioTooComplex: `timeout` has passed.
        DecodeError: no audio, mostly corrupt audio, a rate outside SAMPLE_RATES, or samples that
            are NaN or infinite (these would spoil other requests in the engine).
    """
    deadline = time.monotonic() + timeout

    def check() -> None:
        check_cancelled()
        if time.monotonic() > deadline:
            raise AudioTooComplex(f"The recording could not be decoded within {timeout:g} seconds.")

    room = int(max_seconds * SAMPLE_RATE)
    for block in _blocks(source, _FORMATS[dtype], check):
        room -= len(block)
        if room < 0:
            raise AudioTooLong(
                f"The recording is too long; expected at most {max_seconds:g} seconds of audio."
            )
        yield block


def _blocks(
    source: BinaryIO, sample_format: str, check: Callable[[], None]
) -> Iterator[NDArray[Sample]]:
    try:
        options = _WAV_OPTIONS if _is_wav(source) else _OPEN_OPTIONS
        container = av.open(source, "r", options=options, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        raise _undecodable() from error
    with container:
        resampler: AudioResampler | None = None
        layout = None
        for frame in _frames(container, check):
            frame_layout = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or frame_layout != layout:
                # A stream may change its rate or channels on the way (AAC, chained Ogg).
                yield from _resample(resampler, None)
                resampler, layout = _new_resampler(frame, sample_format), frame_layout
            _check_finite(frame)
            yield from _resample(resampler, frame)
        yield from _resample(resampler, None)


def _is_wav(source: BinaryIO) -> bool:
    start = source.read(12)
    source.seek(0)
    return start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE"


def _frames(container: InputContainer, check: Callable[[], None]) -> Iterator[AudioFrame]:
    """The frames of the first audio stream; a file of which most cannot be decoded is rejected."""
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise DecodeError("The file holds no audio; expected at least one audio stream.")
    if stream.codec_context is None:  # without a decoder FFmpeg would crash
        raise _undecodable()
    good = corrupt = 0
    for packet in _packets(container, stream):
        check()
        try:
            frames = packet.decode()
        except FFmpegError:
            corrupt += 1
            continue
        for frame in frames:
            if isinstance(frame, AudioFrame):
                good += 1
                yield frame
    if corrupt > good:
        raise _undecodable()


def _packets(container: InputContainer, stream: AudioStream) -> Iterator[av.Packet]:
    """Packets up to the end of the file, or up to where a damaged one stops making sense."""
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, FFmpegError):
            return


def _new_resampler(frame: AudioFrame, sample_format: str) -> AudioResampler:
    if frame.sample_rate not in SAMPLE_RATES:
        raise DecodeError(
            f"The recording claims a sampling rate of {frame.sample_rate} Hz; expected "
            f"{SAMPLE_RATES.start} to {SAMPLE_RATES.stop - 1}."
        )
    return AudioResampler(format=sample_format, layout="mono", rate=SAMPLE_RATE)


def _resample(
    resampler: AudioResampler | None, frame: AudioFrame | None
) -> Iterator[NDArray[Sample]]:
    """`frame` resampled; None flushes the resampler."""
    if resampler is None:
        return
    try:
        resampled = resampler.resample(frame)
    except (FFmpegError, ValueError) as error:
        raise _undecodable() from error
    for out in resampled:
        if out.samples:
            yield out.to_ndarray()[0]


def _check_finite(frame: AudioFrame) -> None:
    if frame.format.name.startswith(("flt", "dbl")) and not np.isfinite(frame.to_ndarray()).all():
        raise DecodeError(
            "The recording holds samples that are not finite numbers (NaN or infinity)."
        )


def _undecodable() -> DecodeError:
    return DecodeError(
        "The file could not be decoded as audio. Expected a recording in a common format, such as "
        "wav, mp3, m4a, mp4, webm, ogg, opus, aac or flac."
    )
