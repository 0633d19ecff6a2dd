"""Encodes decoded audio into sections for the recognizer, in compact files or in memory."""

import io
import os
import wave
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_proxy.errors import InvalidAudio, StorageError, storage_errors
from vibevoice_proxy.transcription.sections import Recording, Section, cut

MIN_SECONDS = 0.1
"""The shortest recording that OpenAI's API accepts."""
SILENCE_PEAK = 3
"""In 16-bit steps: 20 log10(3 / 32768) = -81 dBFS, below the noise of any microphone."""
SHORT_SECONDS = 30
"""Up to this length, `auto` means WAV in memory, 1.4 MB: encoding FLAC would take the proxy as long
as decoding, and the engine would take longer to read it. An hour of WAV would take the engine
230 MB."""

_ENCODINGS = {
    "flac": ("FLAC", "PCM_16", "audio/flac"),
    "wav": ("WAV", "PCM_16", "audio/wav"),
    "opus": ("OGG", "OPUS", "audio/ogg"),
}


def transcode(
    blocks: Iterator[NDArray[np.int16]],
    new_file: Callable[[], BinaryIO],
    *,
    encoding: str,
    max_section_seconds: float,
) -> Recording:
    """Encode `blocks`, mono 24 kHz samples of shape (samples,), in sections of at most
    `max_section_seconds`. `new_file` returns an empty, seekable, unbuffered file for each section.

    `encoding` is flac, wav, opus or auto; auto means wav in memory for the first section if it is
    short, otherwise flac. Raises InvalidAudio if there is too little audio to transcribe,
    StorageError if a file cannot be written, and whatever `blocks` raises.
    """
    numbered_blocks = cut(_joined(blocks), int(max_section_seconds * SAMPLE_RATE))
    sections: list[Section] = []
    first = 0
    for _, numbered in groupby(numbered_blocks, itemgetter(0)):
        if first and encoding == "auto":
            encoding = "flac"  # only one section is kept in memory
        section = _encode(first, (block for _, block in numbered), new_file, encoding)
        sections.append(section)
        first += section.samples
    if first < MIN_SECONDS * SAMPLE_RATE:
        raise InvalidAudio(
            f"The recording is too short: {first / SAMPLE_RATE:.3f} seconds of audio; expected "
            f"at least {MIN_SECONDS:g}.",
            code="audio_too_short",
        )
    return Recording(tuple(sections))


class _SoundFile(soundfile.SoundFile):
    """A file that does not have to survive a crash. The base class would wait for the disk (fsync)
    at the end, which takes longer than the encoding."""

    def flush(self) -> None:
        """Do nothing: closing writes the remaining data."""


def _encode(
    first: int, blocks: Iterator[NDArray[np.int16]], new_file: Callable[[], BinaryIO], encoding: str
) -> Section:
    """Encode `blocks` as the section that begins at sample `first`."""
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


def _encode_short(first: int, blocks: list[NDArray[np.int16]]) -> Section:
    file = io.BytesIO()
    samples = sum(map(len, blocks))
    with wave.open(file, "wb") as encoder:
        encoder.setparams((1, 2, SAMPLE_RATE, samples, "NONE", ""))
        for block in blocks:
            encoder.writeframesraw(block.astype("<i2", copy=False).data)
    silent = max(map(_peak, blocks)) <= SILENCE_PEAK
    return Section(file, file.getbuffer().nbytes, "audio/wav", first, samples, silent)


def _peak(block: NDArray[np.int16]) -> int:
    return max(int(block.max()), -int(block.min()))


def _encode_file(
    first: int, blocks: Iterable[NDArray[np.int16]], target: BinaryIO, encoding: str
) -> Section:
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
        with storage_errors():  # libsndfile does not say why a write failed, so write again
            target.write(bytes(4096))
        raise StorageError from error
    size = os.fstat(target.fileno()).st_size
    return Section(target, size, media_type, first, samples, peak <= SILENCE_PEAK)


def _joined(blocks: Iterator[NDArray[np.int16]]) -> Iterator[NDArray[np.int16]]:
    """Join `blocks` into blocks of about a second: a decoder's blocks are a few milliseconds long,
    and each has a fixed cost."""
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
