"""Recordings of voices to clone, as they come with a request or from the store."""

import base64
import io
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import BinaryIO

import numpy as np
from anyio import from_thread, to_thread

from vibevoice_proxy.audio import decode
from vibevoice_proxy.errors import InvalidAudio, InvalidRequest
from vibevoice_proxy.json_body import DATA_URL
from vibevoice_proxy.pieces import SAMPLE_RATE
from vibevoice_proxy.resources import Resources
from vibevoice_proxy.speech_options import REF_AUDIO, SpeechOptions
from vibevoice_tts import engine
from vibevoice_tts.engine import Samples
from vibevoice_tts.recordings import GOOD_SECONDS, MAX_FILE_SECONDS, check_sample
from vibevoice_tts.synthesizer import Synthesizer

MAX_BYTES = 10 * 1024 * 1024
"""Largest file of a sample, as in OpenAI's API."""


async def collect_samples(
    options: SpeechOptions, synthesizer: Synthesizer, resources: Resources
) -> dict[str, Samples]:
    """The recordings that a request needs, by the names of voices that mean them.

    Raises CannotClone when there are any and the model cannot, InvalidRequest when a sample is no
    recording of enough speech.
    """
    samples: dict[str, Samples] = {}
    if options.ref_audio:
        synthesizer.check_cloning()
        samples[REF_AUDIO] = await _decode_ref_audio(options.ref_audio, resources)
    if resources.voices is not None:
        names = {*(options.speakers or {}).values(), *([] if samples else [options.voice_name])}
        for name in names - {"", REF_AUDIO}:
            if synthesizer.has_voice(name):
                continue  # stored while the model was loading: its own voices stay what they are
            if stored := await to_thread.run_sync(resources.voices.find, name):
                synthesizer.check_cloning()
                # a voice that was deleted just now is not known any more
                with suppress(FileNotFoundError):
                    samples[name] = await to_thread.run_sync(stored.read)
    return samples


async def decode_sample(source: BinaryIO, resources: Resources, param: str) -> Samples:
    """The speech in `source`, mono float32 at 24 kHz, without silence around it and not longer
    than is useful.

    Raises InvalidAudio with `param` when it is no recording, or one of too little speech.
    """
    check_cancelled = from_thread.check_cancelled
    timeout = resources.settings.decode_timeout
    work = partial(_decode, source, timeout, check_cancelled)
    try:
        return await to_thread.run_sync(work, limiter=resources.decoders)
    except InvalidAudio as error:
        error.param = param
        raise


def warning_of(samples: Samples) -> str:
    """What a client should know of a sample; empty if it is good."""
    seconds = len(samples) / SAMPLE_RATE
    if seconds >= GOOD_SECONDS:
        return ""
    return f"A voice cloned from {seconds:.1f} s of speech is unstable; 6 to 30 s are better."


async def _decode_ref_audio(text: str, resources: Resources) -> Samples:
    if re.match(r"[a-z]+://", text, re.IGNORECASE):
        raise InvalidRequest(
            f"{REF_AUDIO} is a URL, and none is fetched; expected the recording in base64, or a "
            "data URL.",
            param=REF_AUDIO,
        )
    digits = DATA_URL.sub("", text, count=1)
    try:
        data = base64.b64decode(digits, validate=True)
    except ValueError as error:
        raise InvalidRequest(
            f"{REF_AUDIO} is no base64; expected a recording in base64, or a data URL.",
            param=REF_AUDIO,
        ) from error
    return await decode_sample(io.BytesIO(data), resources, REF_AUDIO)


def _decode(source: BinaryIO, timeout: float, check_cancelled: Callable[[], None]) -> Samples:
    blocks: list[np.ndarray] = []
    room = int(MAX_FILE_SECONDS * SAMPLE_RATE)
    for block in decode(source, timeout, check_cancelled):
        blocks.append(block)
        room -= len(block)
        if room < 0:
            raise InvalidAudio(
                f"The sample is longer than {MAX_FILE_SECONDS:g} seconds; expected 6 to 30.",
                code="audio_too_long",
            )
    samples = np.concatenate([np.zeros(0, np.int16), *blocks]).astype(np.float32) / 32768
    try:
        return check_sample(samples)
    except engine.InvalidRequest as error:
        raise InvalidAudio(str(error), code="audio_too_short") from error
