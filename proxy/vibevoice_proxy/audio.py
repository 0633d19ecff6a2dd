"""An upload of any container and codec → mono 24 kHz, 16 bit, in a compact file, or in memory.

The bytes decide what an upload is, never its name. Decoding goes packet by packet, so memory stays
flat over an hour, and every resource that a hostile file could claim is bounded: the demuxers, the
protocols (none), the sampling rate, the decoded seconds and the time taken.
"""

import io
import os
import time
import wave
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter
from typing import BinaryIO

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from vibevoice_proxy.errors import InvalidAudio, StorageFull
from vibevoice_proxy.pieces import SAMPLE_RATE, Piece, Recording, cut

MIN_SECONDS = 0.1
"""The shortest recording that OpenAI's API takes."""
SILENCE_PEAK = 3
"""In 16-bit steps: 20 log10(3 / 32768) = -81 dBFS, below the noise of any microphone."""
SHORT_SECONDS = 30
"""Up to here `auto` is WAV in memory, 1.4 MB: a FLAC file would take the proxy as much time as all
the decoding, and the engine longer to read. An hour in WAV would take the engine 230 MB."""
SAMPLE_RATES = range(1_000, 768_001)
"""Hz. A forged rate would turn one small packet into hours: 1 Hz is resampled 24000-fold."""

# Without playlists, `concat`, SDP and the like: those open files and sockets of their own.
_DEMUXERS = (
    "aac,ac3,eac3,aiff,amr,ape,asf,au,avi,caf,flac,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,"
    "mpeg,mpegts,ogg,tta,w64,wav,wv"
)
_OPEN_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "pipe"}
# FFmpeg would search more of every WAV file for DTS, which takes it 8 to 26 ms, and cut it into
# packets of 43 to 85 ms, each with its price here.
_WAV_OPTIONS = {**_OPEN_OPTIONS, "max_probe_packets": "1", "max_size": "32768"}
_ENCODINGS = {
    "flac": ("FLAC", "PCM_16", "audio/flac"),
    "wav": ("WAV", "PCM_16", "audio/wav"),
    "opus": ("OGG", "OPUS", "audio/ogg"),
}


def transcode(
    source: BinaryIO,
    new_file: Callable[[], BinaryIO],
    *,
    encoding: str,
    max_seconds: float,
    max_piece_seconds: float,
    timeout: float,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Recording:
    """Decodes the first audio stream of `source`, seekable, into pieces of at most
    `max_piece_seconds`; `new_file` gives each an empty, seekable file without a buffer.

    `encoding` is flac, wav, opus, or auto: wav for the first piece if it is short, without a file,
    else flac. `check_cancelled` is called again and again and may raise to stop the work. Raises
    InvalidAudio when there is nothing to transcribe, when the audio is not finite, longer than
    `max_seconds`, or takes more than `timeout` seconds to decode; StorageFull when a file cannot be
    written.
    """
    blocks = _bounded(_joined(decode(source, timeout, check_cancelled)), max_seconds)
    pieces: list[Piece] = []
    first = 0
    for _, numbered in groupby(cut(blocks, int(max_piece_seconds * SAMPLE_RATE)), itemgetter(0)):
        if first and encoding == "auto":
            encoding = "flac"  # only one piece is kept in memory
        piece = _encode(first, (block for _, block in numbered), new_file, encoding)
        pieces.append(piece)
        first += piece.samples
    if first < MIN_SECONDS * SAMPLE_RATE:
        raise InvalidAudio(
            f"The recording is too short: {first / SAMPLE_RATE:.3f} seconds of audio, expected "
            f"at least {MIN_SECONDS:g}.",
            code="audio_too_short",
        )
    return Recording(tuple(pieces))


class _SoundFile(soundfile.SoundFile):
    """A file that nobody reads after a crash: the base class would wait for the disk (fsync) at the
    end, for longer than all the encoding takes."""

    def flush(self) -> None:
        """Nothing: closing writes what is left."""


def _encode(
    first: int, blocks: Iterator[NDArray[np.int16]], new_file: Callable[[], BinaryIO], encoding: str
) -> Piece:
    """The piece that begins at sample `first` and holds `blocks`."""
    if encoding != "auto":
        return _encode_file(first, blocks, new_file(), encoding)
    held: list[NDArray[np.int16]] = []
    room = SHORT_SECONDS * SAMPLE_RATE
    for block in blocks:
        held.append(block)
        room -= len(block)
        if room < 0:
            return _encode_file(first, chain(held, blocks), new_file(), "flac")
    return _encode_short(first, held)


def _encode_short(first: int, blocks: list[NDArray[np.int16]]) -> Piece:
    file = io.BytesIO()
    samples = sum(map(len, blocks))
    with wave.open(file, "wb") as encoder:
        encoder.setparams((1, 2, SAMPLE_RATE, samples, "NONE", ""))
        for block in blocks:
            encoder.writeframesraw(block.astype("<i2", copy=False).data)
    silent = max(map(_peak, blocks)) <= SILENCE_PEAK
    return Piece(file, file.getbuffer().nbytes, "audio/wav", first, samples, silent)


def _peak(block: NDArray[np.int16]) -> int:
    return max(int(block.max()), -int(block.min()))


def _encode_file(
    first: int, blocks: Iterable[NDArray[np.int16]], target: BinaryIO, encoding: str
) -> Piece:
    container_format, subtype, media_type = _ENCODINGS[encoding]
    samples = peak = 0
    try:
        with _SoundFile(
            target.fileno(),
            "w",
            SAMPLE_RATE,
            1,
            format=container_format,
            subtype=subtype,
            closefd=False,
        ) as encoder:
            for block in blocks:
                samples += len(block)
                peak = max(peak, _peak(block))
                encoder.write(block)
    except soundfile.LibsndfileError as error:
        raise StorageFull from error
    size = os.fstat(target.fileno()).st_size
    return Piece(target, size, media_type, first, samples, peak <= SILENCE_PEAK)


def _joined(blocks: Iterator[NDArray[np.int16]]) -> Iterator[NDArray[np.int16]]:
    """The same samples in blocks of about a second: a decoder's own are a few milliseconds, and
    every one has its price."""
    held: list[NDArray[np.int16]] = []
    samples = 0
    for block in blocks:
        held.append(block)
        samples += len(block)
        if samples >= SAMPLE_RATE:
            yield np.concatenate(held)
            held, samples = [], 0
    if held:
        yield np.concatenate(held)


def _bounded(
    blocks: Iterator[NDArray[np.int16]], max_seconds: float
) -> Iterator[NDArray[np.int16]]:
    samples = 0
    for block in blocks:
        samples += len(block)
        if samples > max_seconds * SAMPLE_RATE:
            raise _too_long(max_seconds)
        yield block


def decode(
    source: BinaryIO, timeout: float, check_cancelled: Callable[[], None] = lambda: None
) -> Iterator[NDArray[np.int16]]:
    """Blocks of mono 24 kHz samples, shape (samples,), int16, none of them empty."""
    deadline = time.monotonic() + timeout

    def check() -> None:
        check_cancelled()
        if time.monotonic() > deadline:
            raise InvalidAudio(
                f"The recording could not be decoded within {timeout:g} seconds.",
                code="audio_too_complex",
            )

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
                resampler, layout = _new_resampler(frame), frame_layout
            _check_finite(frame)
            yield from _resample(resampler, frame)
        yield from _resample(resampler, None)


def _is_wav(source: BinaryIO) -> bool:
    start = source.read(12)
    source.seek(0)
    return start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE"


def _frames(container: InputContainer, check: Callable[[], None]) -> Iterator[AudioFrame]:
    """The frames of the first audio stream, with `check` called for every packet. Corrupt packets
    are left out, as ffmpeg does; a file of which most cannot be decoded is refused."""
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise InvalidAudio("The file holds no audio; expected at least one audio stream.")
    if stream.codec_context is None:
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


def _new_resampler(frame: AudioFrame) -> AudioResampler:
    if frame.sample_rate not in SAMPLE_RATES:
        raise InvalidAudio(
            f"The recording claims a sampling rate of {frame.sample_rate} Hz; expected "
            f"{SAMPLE_RATES.start} to {SAMPLE_RATES.stop - 1}."
        )
    # 16 bit as output makes the resampler scale the mix-down, so that it cannot clip.
    return AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def _resample(
    resampler: AudioResampler | None, frame: AudioFrame | None
) -> Iterator[NDArray[np.int16]]:
    """`frame` resampled; None flushes the resampler."""
    if resampler is None:
        return
    try:
        resampled = resampler.resample(frame)
    except (FFmpegError, ValueError) as error:
        raise _undecodable() from error
    for piece in resampled:
        if piece.samples:
            yield piece.to_ndarray()[0]


def _check_finite(frame: AudioFrame) -> None:
    """NaN would become noise here, and poison other requests in the engine."""
    if frame.format.name.startswith(("flt", "dbl")) and not np.isfinite(frame.to_ndarray()).all():
        raise InvalidAudio(
            "The recording holds samples that are not finite numbers (NaN or infinity)."
        )


def _too_long(max_seconds: float) -> InvalidAudio:
    return InvalidAudio(
        f"The recording is longer than {max_seconds / 60:g} minutes, the most that one request can "
        "hold. Send it in shorter parts.",
        code="audio_too_long",
    )


def _undecodable() -> InvalidAudio:
    return InvalidAudio(
        "The file could not be decoded as audio. Expected a recording in a common format, such as "
        "wav, mp3, m4a, mp4, webm, ogg, opus, aac or flac."
    )
