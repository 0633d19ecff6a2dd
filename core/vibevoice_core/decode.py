"""Decodes untrusted audio in any common container and codec to mono samples at 24 kHz.

The content determines the format, never the file name. Decoding proceeds packet by packet, so
memory use does not depend on the length. Everything that a hostile file controls is limited: the
demuxers, the protocols (none), the sampling rate, the length, and the decoding time. Times are
those that a player would show: gaps in the container become silence.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.codec import Properties
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.containers import open_container
from vibevoice_core.declared import Reached, lost_seconds
from vibevoice_core.errors import AudioTooComplex, AudioTooLong, DecodeError, undecodable
from vibevoice_core.placer import Placer, silence
from vibevoice_core.resampling import Levels, Resampler, Sample
from vibevoice_core.timeline import Timeline

SILENCE_PEAK = 3 / 32768
"""Relative to full scale: -81 dBFS, below the noise of any microphone."""


@dataclass
class Report:
    """What decoding finds out about a recording."""

    levels: Levels = field(default_factory=Levels)
    lost_seconds: float = 0.0
    """Seconds at the end that the file's header declares, but the file does not contain; known when
    decoding ends."""


def decode(
    source: BinaryIO,
    dtype: type[Sample],
    *,
    max_seconds: float,
    timeout: float,
    check_cancelled: Callable[[], None] = lambda: None,
    gain: float = 1.0,
    report: Report | None = None,
) -> Generator[NDArray[Sample]]:
    """Decode the audio of `source`, a seekable file. If it has several audio tracks, decode the
    default one, or else the first one; if that is silent, the next one that is not. Corrupt packets
    are skipped and replaced with silence.

    Args:
        dtype: `np.int16`, or `np.float32` with full scale 1.0.
        max_seconds: limit on the length of the audio, including silence that fills gaps.
        timeout: limit in seconds on the time between the first block and the last.
        check_cancelled: called for every packet; may raise to stop decoding.
        gain: factor for recordings with a resolution of more than 16 bits.
        report: filled in while decoding.

    Yields:
        Blocks of mono 24 kHz audio, shape (samples,), never empty.

    Raises:
        AudioTooLong: there is more than `max_seconds` of audio.
        AudioTooComplex: decoding took longer than `timeout`.
        DecodeError: there is no audio, the file was cut off before the audio begins, most of the
            audio is corrupt, the sampling rate is implausible, or samples are NaN or infinite
            (which would corrupt other requests in the engine).
    """
    deadline = time.monotonic() + timeout

    def check() -> None:
        check_cancelled()
        if time.monotonic() > deadline:
            raise AudioTooComplex(f"The recording could not be decoded within {timeout:g} seconds.")

    found = Report() if report is None else report
    room = int(max_seconds * SAMPLE_RATE)
    is_empty = True
    for block in _first_heard(source, dtype, gain, found, check):
        room -= len(block)
        if room < 0:
            raise AudioTooLong(
                f"The recording is too long; expected at most {max_seconds:g} seconds of audio."
            )
        is_empty = False
        yield block
    if found.lost_seconds and is_empty:
        raise DecodeError("The file was cut off before its audio begins; send the whole file.")
    found.lost_seconds = min(found.lost_seconds, room / SAMPLE_RATE)


def _tracks(container: InputContainer) -> list[AudioStream]:
    """The audio tracks, default tracks first.

    Raises:
        DecodeError: there is no track for which a decoder is available.
    """
    streams = container.streams.audio
    if not streams:
        raise DecodeError("The file contains no audio; expected at least one audio stream.")
    # FFmpeg would crash without a decoder
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise undecodable()
    return sorted(known, key=lambda stream: not stream.disposition & Disposition.default)


def _first_heard(
    source: BinaryIO, dtype: type[Sample], gain: float, report: Report, check: Callable[[], None]
) -> Iterator[NDArray[Sample]]:
    """The samples of the first track that is not silent. If all are silent, silence of the length
    of the longest."""
    quiet = SILENCE_PEAK * (32768 if dtype is np.int16 else 1)
    track, longest, declared = 0, 0, 0.0
    while True:
        with open_container(source) as container:
            tracks = _tracks(container)
            resampler = Resampler(
                dtype, gain=gain, is_lossless=_is_lossless(tracks[track]), levels=report.levels
            )
            placer = Placer(Timeline(*_bounds(container)), resampler, dtype)
            blocks = _track_blocks(source, container, tracks[track], placer, report, check)
            if len(tracks) == 1:
                yield from blocks
                return
            silent = 0
            for block in blocks:
                if np.abs(block.astype(np.float32)).max() > quiet:
                    yield from silence(silent, dtype)
                    yield block
                    yield from blocks
                    return
                silent += len(block)
        longest = max(longest, silent)
        declared = max(declared, silent / SAMPLE_RATE + report.lost_seconds)
        track += 1
        if track == len(tracks):
            report.lost_seconds = declared - longest / SAMPLE_RATE
            yield from silence(longest, dtype)
            return


def _track_blocks(
    source: BinaryIO,
    container: InputContainer,
    stream: AudioStream,
    placer: Placer[Sample],
    report: Report,
    check: Callable[[], None],
) -> Iterator[NDArray[Sample]]:
    """The samples of a track. After the last block, `report` has the seconds lost at its end."""
    reached = Reached()
    yield from placer.blocks(_frames(container, stream, check, reached))
    reached.decoded = placer.seconds
    report.lost_seconds = lost_seconds(source, container, stream, reached)


def _is_lossless(stream: AudioStream) -> bool:
    return not stream.codec_context.codec.properties & Properties.LOSSY.value


def _bounds(container: InputContainer) -> tuple[float, float | None]:
    """The times in seconds at which playback begins and, if the file specifies it, ends."""
    starts = [
        float(stream.start_time * stream.time_base)
        for stream in (*container.streams.audio, *container.streams.video)
        if stream.start_time is not None
        and stream.time_base is not None
        and not stream.disposition & Disposition.attached_pic
    ]
    origin = min(starts, default=0.0)
    duration = container.duration
    return origin, None if duration is None else origin + duration / av.time_base


def _frames(
    container: InputContainer, stream: AudioStream, check: Callable[[], None], reached: Reached
) -> Iterator[AudioFrame]:
    """The frames of a track. Rejects a file if most of it cannot be decoded."""
    good = corrupt = 0
    for packet in _packets(container, stream, reached):
        check()
        try:
            frames = packet.decode()
        except FFmpegError:
            corrupt += 1
            continue
        for frame in frames:
            if isinstance(frame, AudioFrame) and frame.samples and frame.sample_rate:
                good += 1
                reached.track_to(frame)
                yield frame
    if corrupt > good:
        raise undecodable()


def _packets(
    container: InputContainer, stream: AudioStream, reached: Reached
) -> Iterator[av.Packet]:
    """Packets up to the end of the file, or up to where a damaged file becomes unreadable."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            return
        if packet.stream.index == stream.index:
            if packet.size:
                reached.last_packet = packet
            yield packet
