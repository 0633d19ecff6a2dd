"""Supports vLLM's own /v1/audio/transcriptions: builds the prompt and extracts the text."""

import json
import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from vllm.config import ModelConfig, SpeechToTextConfig
from vllm.config.speech_to_text import SpeechToTextParams
from vllm.inputs import PromptType, TextPrompt
from vllm.model_executor.models.interfaces import (
    DiarizedTranscriptionSegment,
    StreamingTranscriptionPostProcessor,
    SupportsTranscription,
)
from vllm.model_executor.models.whisper_utils import ISO639_1_SUPPORTED_LANGS

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_core.prompt import SYSTEM, clean_words, user_text

_answer: ContextVar[str] = ContextVar("_answer", default="")
"""The current request's raw answer. vLLM only passes on the cleaned text, from which
`diarized_json` cannot be built."""


def prompt(seconds: float, words: str = "") -> str:
    """The whole prompt for a recording; `words` are the caller's hints and may be empty."""
    return (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
        f"<|im_start|>user\n<|AUDIO|>\n{user_text(seconds, clean_words(words))}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def objects(answer: str) -> Iterator[dict[str, Any]]:
    """The complete JSON objects in an answer, even if the answer is cut off."""
    decoder = json.JSONDecoder()
    at = answer.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(answer, at)
        except json.JSONDecodeError:
            return
        yield value
        at = answer.find("{", end)


def segments(answer: str) -> list[DiarizedTranscriptionSegment]:
    """The segments of an answer, except those without words or times."""
    found = []
    for value in objects(answer):
        start, end = value.get("Start"), value.get("End")
        text = str(value.get("Content", "")).strip()
        if text and isinstance(start, int | float) and isinstance(end, int | float):
            speaker = str(value.get("Speaker", ""))
            found.append(DiarizedTranscriptionSegment(float(start), float(end), speaker, text))
    return found


def content(answer: str) -> str:
    """The words of an answer, or the answer itself if it is not the model's JSON."""
    return ContentReader().process_delta(answer, finished=True)


class ContentReader(StreamingTranscriptionPostProcessor):
    """Extracts the words of the `Content` strings from deltas of the model's JSON.

    Segments are separated by a space. An answer that is not the model's JSON is passed through.
    """

    _KEY = re.compile(r'"Content"\s*:\s*"')
    _CHARACTERS = re.compile(
        r'[^"\\]+|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
        r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    )
    _LONGEST_ESCAPE = 12

    def __init__(self) -> None:
        self._rest = ""
        self._is_json: bool | None = None
        self._inside = False
        self._begun = False

    def process_delta(self, text_delta: str, finished: bool) -> str:
        self._rest += text_delta
        if self._is_json is None and not self._recognize(finished):
            return ""
        if not self._is_json:
            words, self._rest = self._rest, ""
            return words
        return "".join(self._words(finished))

    def _recognize(self, finished: bool) -> bool:
        """Whether enough text has arrived to distinguish JSON, with or without a role, from plain
        text."""
        start = self._rest.lstrip()
        body = start.removeprefix("assistant").lstrip()
        if finished or (body and not "assistant".startswith(start)):
            self._is_json = body.startswith("[")
        return self._is_json is not None

    def _words(self, finished: bool) -> Iterator[str]:
        while True:
            if not self._inside:
                if (key := self._KEY.search(self._rest)) is None:
                    return
                self._rest, self._inside = self._rest[key.end() :], True
                if self._begun:
                    yield " "
            elif self._rest.startswith('"'):
                self._rest, self._inside = self._rest[1:], False
            elif characters := self._CHARACTERS.match(self._rest):
                self._rest, self._begun = self._rest[characters.end() :], True
                yield json.loads(f'"{characters.group()}"', strict=False)
            elif self._rest and (finished or len(self._rest) >= self._LONGEST_ESCAPE):
                self._rest = self._rest[1:]  # a backslash that does not start a valid escape
            else:
                return


class VibeVoiceTranscription(SupportsTranscription):
    """vLLM's interface for models that transcribe. The language is optional."""

    supported_languages = ISO639_1_SUPPORTED_LANGS
    supports_diarized_transcription = True

    @classmethod
    def validate_language(cls, language: str | None) -> str | None:
        return language

    @classmethod
    def get_speech_to_text_config(
        cls, model_config: ModelConfig, task_type: str
    ) -> SpeechToTextConfig:
        return SpeechToTextConfig(
            sample_rate=SAMPLE_RATE, max_audio_clip_s=None, min_energy_split_window_size=None
        )

    @classmethod
    def get_generation_prompt(cls, stt_params: SpeechToTextParams) -> PromptType:
        words = ", ".join(filter(None, (stt_params.hotwords, stt_params.request_prompt)))
        return TextPrompt(
            prompt=prompt(len(stt_params.audio) / SAMPLE_RATE, words),
            multi_modal_data={"audio": (stt_params.audio, SAMPLE_RATE)},
        )

    @classmethod
    def post_process_output(cls, text: str) -> str:
        _answer.set(text)
        return content(text)

    @classmethod
    def parse_diarized_transcript(cls, text: str) -> list[DiarizedTranscriptionSegment]:
        return segments(_answer.get())

    @classmethod
    def get_streaming_post_processor_cls(cls) -> type[StreamingTranscriptionPostProcessor]:
        return ContentReader
