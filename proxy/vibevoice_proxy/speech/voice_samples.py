"""Recordings of voices to clone, as they come with a request or from the store."""

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
"""Largest file of a sample, as in OpenAI's API."""


class VoiceSamples:
    """Finds and decodes the recordings that requests name or bring."""

    def __init__(self, decoder: AudioDecoder, store: VoiceStore | None) -> None:
        """`store`: voices that clients have stored; None where they may not."""
        self.store = store
        self._decoder = decoder

    async def collect(self, options: SpeechOptions, synthesizer: Synthesizer) -> dict[str, Samples]:
        """The recordings that a request needs, by the names of voices that mean them.

        Raises CannotClone when there are any and the model cannot, InvalidRequest when a sample is
        not a recording of enough speech.
        """
        samples: dict[str, Samples] = {}
        if options.ref_audio:
            synthesizer.check_cloning()
            samples[REF_AUDIO] = await self._decode_ref_audio(options.ref_audio)
        if self.store is not None:
            names = {*(options.speakers or {}).values(), *([] if samples else [options.voice_name])}
            for name in names - {"", REF_AUDIO}:
                if synthesizer.has_voice(name):
                    continue  # stored while the model was loading: its own voices win
                if stored := await to_thread.run_sync(self.store.find, name):
                    synthesizer.check_cloning()
                    # a voice that was deleted just now is not known any more
                    with suppress(FileNotFoundError):
                        samples[name] = await to_thread.run_sync(stored.read)
        return samples

    async def decode(self, source: BinaryIO, param: str) -> Samples:
        """The speech in `source`, mono float32 at 24 kHz, without silence around it and not longer
        than is useful.

        Raises InvalidAudio with `param` when it is not a recording, or one of too little speech.
        """
        try:
            return await self._decoder.run(source, MAX_FILE_SECONDS, _checked)
        except InvalidAudio as error:
            error.param = param
            raise

    async def _decode_ref_audio(self, text: str) -> Samples:
        if re.match(r"[a-z]+://", text, re.IGNORECASE):
            raise InvalidRequest(
                f"{REF_AUDIO} is a URL, and none is fetched; expected the recording in base64, or "
                "a data URL.",
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
    """What a client should know of a sample; empty if it is good."""
    seconds = len(samples) / SAMPLE_RATE
    if seconds >= GOOD_SECONDS:
        return ""
    return f"A voice cloned from {seconds:.1f} s of speech is unstable; 6 to 30 s are better."


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
