"""Decodes recordings of voices to clone, from requests or from the store."""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.errors import AudioTooLong
from vibevoice_proxy.decoder import AudioDecoder
from vibevoice_proxy.errors import InvalidAudio, InvalidRequest
from vibevoice_proxy.json_body import DATA_URL
from vibevoice_proxy.speech.options import REF_AUDIO, SpeechOptions
from vibevoice_proxy.speech.voice_store import VoiceStore
from vibevoice_tts import (
    GOOD_SECONDS,
    MAX_FILE_SECONDS,
    Samples,
    SpeechRejected,
    Synthesizer,
    check_sample,
)

MAX_BYTES = 10 * 1024 * 1024
"""Maximum file size of a sample, as in OpenAI's API."""


class VoiceSamples:
    """Finds and decodes the recordings that requests contain or refer to."""

    def __init__(self, decoder: AudioDecoder, store: VoiceStore | None) -> None:
        """`store`: voices that clients have stored; None if storing is disabled."""
        self.store = store
        self._decoder = decoder

    async def collect(self, options: SpeechOptions, synthesizer: Synthesizer) -> dict[str, Samples]:
        """The recordings that a request needs, by voice name. Raises CannotClone if there are any
        and the model cannot clone, InvalidRequest if a sample is not a recording with enough
        speech.
        """
        samples: dict[str, Samples] = {}
        if options.ref_audio:
            synthesizer.check_cloning()
            samples[REF_AUDIO] = await self._decode_ref_audio(options.ref_audio)
        if self.store is not None:
            names = {*(options.speakers or {}).values(), *([] if samples else [options.voice_name])}
            for name in names - {"", REF_AUDIO}:
                if synthesizer.has_voice(name):
                    continue  # stored while the model was loading; its own voices win
                if stored := await to_thread.run_sync(self.store.find, name):
                    synthesizer.check_cloning()
                    # a voice that was just deleted is unknown
                    with suppress(FileNotFoundError):
                        samples[name] = await to_thread.run_sync(stored.read)
        return samples

    async def decode(self, source: BinaryIO, param: str) -> Samples:
        """The speech in `source`, mono float32 at 24 kHz, trimmed to the useful length and without
        leading or trailing silence. Raises InvalidAudio with `param` if it is not a recording or
        contains too little speech.
        """
        try:
            samples, _ = await self._decoder.run(source, MAX_FILE_SECONDS, _checked)
            return samples
        except InvalidAudio as error:
            error.param = param
            raise

    async def _decode_ref_audio(self, text: str) -> Samples:
        if re.match(r"[a-z]+://", text, re.IGNORECASE):
            raise InvalidRequest(
                f"{REF_AUDIO} is a URL, and URLs are not fetched; expected a "
                "recording in base64, or a data URL.",
                param=REF_AUDIO,
            )
        digits = DATA_URL.sub("", text, count=1)
        try:
            data = base64.b64decode(digits, validate=True)
        except ValueError as error:
            raise InvalidRequest(
                f"{REF_AUDIO} is not valid base64; expected a recording in base64, or a data URL.",
                param=REF_AUDIO,
            ) from error
        return await self.decode(io.BytesIO(data), REF_AUDIO)


def warning_of(samples: Samples) -> str:
    """A warning about a sample for the client; empty if the sample is good."""
    seconds = len(samples) / SAMPLE_RATE
    if seconds >= GOOD_SECONDS:
        return ""
    return f"Cloning from {seconds:.1f} s of speech is unreliable; use 6 to 30 s."


def _checked(blocks: Iterator[NDArray[np.int16]]) -> Samples:
    try:
        whole = np.concatenate([np.zeros(0, np.int16), *blocks])
    except AudioTooLong as error:
        raise InvalidAudio(
            f"The sample is longer than {MAX_FILE_SECONDS:g} seconds; expected 6 to 30.",
            code=error.code,
        ) from error
    try:
        return check_sample(whole.astype(np.float32) / 32768)
    except SpeechRejected as error:
        raise InvalidAudio(str(error), code="audio_too_short") from error
