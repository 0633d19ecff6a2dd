"""The Realtime model: one voice per request, many requests in one batch, frame by frame.

Each request reads 5 tokens of its text, then generates 6 frames of speech, and so on. After the
last token, it generates frames until its classifier detects the end of speech. All requests share
the forward passes, regardless of their positions in their own texts. Windows, guidance and the end
condition follow microsoft/VibeVoice at e73d1e1 (modeling_vibevoice_streaming_inference.py), which
runs one request at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from tokenizers import Tokenizer

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_tts.engines.device import upload
from vibevoice_tts.engines.diffusion import Denoiser
from vibevoice_tts.engines.loading import find_voices, read_tokenizer
from vibevoice_tts.engines.lru import Lru
from vibevoice_tts.engines.presets import Preset, PresetError, read_preset
from vibevoice_tts.engines.realtime_model import SPEECH, TEXT, RealtimeModel, load_realtime
from vibevoice_tts.engines.rows import Row, Rows, next_latents
from vibevoice_tts.engines.sampling import Sampling
from vibevoice_tts.engines.slots import ConvolutionSlots, KeyValueSlots
from vibevoice_tts.models import ModelConfig
from vibevoice_tts.speech_model import (
    CannotClone,
    Chunk,
    End,
    Event,
    Samples,
    SpeechRejected,
    SpeechRequest,
)
from vibevoice_tts.voices import VoiceTable

TOKENIZER = "Qwen/Qwen2.5-0.5B"
"""Repository whose tokenizer the model was trained with."""
TEXT_WINDOW = 5
"""Tokens read at once."""
SPEECH_WINDOW = 6
"""Frames between two windows of text."""
CFG_SCALE = 1.5
"""Guidance scale in Microsoft's demos."""
STEPS = 5
"""Denoising steps in Microsoft's demos."""
FRAMES_PER_TOKEN = 5
"""Frames per text token above which a request counts as runaway; real voices need 1.5 to 2.7."""
EXTRA_FRAMES = 40
"""Additional frames allowed, for short texts."""
_CACHED_PRESETS = 32
_ENDINGS = (".safetensors", ".pt")
_QUOTES = str.maketrans("\u2018\u2019\u201c\u201d", "''\"\"")


@dataclass(eq=False, kw_only=True)
class _Row(Row):
    """A request in flight; its text is read window by window."""

    ids: list[int]
    """Tokens of the text that have not been read yet."""
    unread: torch.Tensor | None = None
    """The latent of the last frame, [latent], until the model has read it."""


class Realtime:
    """`SpeechModel` of a VibeVoice-Realtime-0.5B."""

    sample_rate = SAMPLE_RATE

    def __init__(self, config: ModelConfig, model: RealtimeModel, tokenizer: Tokenizer) -> None:
        """Uses the voices, the cache of converted presets and the capacity of `config`.

        Raises:
            CheckpointError: there are no voices.
        """
        self.card = config.card
        self._model, self._tokenizer = model, tokenizer
        self._cache = Path(config.cache) if config.cache else None
        self._files = find_voices(config, _ENDINGS)
        self._table = VoiceTable(tuple(self._files), self.card.voice_aliases)
        self._presets: Lru[Preset] = Lru(_CACHED_PRESETS)
        self._lower = KeyValueSlots(model.config.lower, model.dtype, model.device)
        self._upper = KeyValueSlots(model.config.upper, model.dtype, model.device)
        self._denoise = Denoiser(model.diffusion_head)
        self._contexts = ConvolutionSlots(config.capacity, model.device)
        self._max_positions = model.config.upper.max_position_embeddings
        self._rows: Rows[_Row] = Rows(config.capacity)

    @classmethod
    def load(cls, config: ModelConfig) -> Self:
        """Load a folder in the layout that Microsoft publishes.

        Raises:
            CheckpointError: the folder does not contain a Realtime model, or there are no voices.
            DeviceUnavailable: the configured device cannot be used.
        """
        model = load_realtime(config)
        return cls(config, model, read_tokenizer(Path(config.folder), TOKENIZER))

    def voices(self) -> tuple[str, ...]:
        return self._table.names

    def find_voice(self, name: str) -> str:
        return self._table.find(name)

    @torch.inference_mode()
    def join(self, request: SpeechRequest) -> int:
        handle, slot = self._rows.next_slot()
        if request.samples:
            raise CannotClone(self.card.name)
        voices = {self._table.find(turn.voice) for turn in request.turns}
        if len(voices) != 1:
            raise SpeechRejected(
                f"{self.card.name} supports 1 voice per request; this one has {len(voices)}."
            )
        (voice,) = voices
        preset = self._presets.get(voice, lambda: self._read_preset(voice))
        ids = self._tokenize(" ".join(turn.text for turn in request.turns))
        most = self._max_positions - preset.tts_language_model.shape[3] - SPEECH_WINDOW
        if len(ids) > most:
            raise SpeechRejected(
                f"The text has {len(ids)} tokens; {self.card.name} accepts at most {most}. Send it "
                "in parts."
            )
        sampling = Sampling.of(
            request,
            cfg_scale=CFG_SCALE,
            steps=STEPS,
            max_frames=FRAMES_PER_TOKEN * len(ids) + EXTRA_FRAMES,
        )
        condition = preset.negative_condition.to(self._model.device, self._model.dtype)
        row = _Row(
            handle=handle,
            slot=slot,
            sampling=sampling,
            positive=condition,
            negative=condition,
            ids=ids,
        )
        self._lower.start(slot, preset.language_model)
        self._upper.start(row.with_text, preset.tts_language_model)
        self._upper.start(row.without_text, preset.negative)
        self._contexts.reset(slot)
        self._rows.add(row)
        return handle

    @torch.inference_mode()
    def step(self) -> list[Event]:
        # Read the previous step's frames only now, so that their audio did not have to wait.
        events = self._read_frames([row for row in self._rows if row.unread is not None])
        due = [row for row in self._rows if row.ids and row.frames % SPEECH_WINDOW == 0]
        for row in due:
            if self._upper.length(row.with_text) + len(row.ids[:TEXT_WINDOW]) > self._max_positions:
                events.append(self._end(row, "length"))
        self._read_texts([row for row in due if row in self._rows])
        rows = list(self._rows)
        if not rows:
            return events
        latents = next_latents(self._denoise, rows, self._model.config.audio.hidden_size)
        chunks = self._decode(latents, rows)
        for row, latent, chunk in zip(rows, latents, chunks, strict=True):
            row.frames += 1
            row.unread = latent
            events.append(Chunk(row.handle, chunk))
            if row.frames >= row.sampling.max_frames or (
                self._upper.length(row.with_text) >= self._max_positions
            ):
                events.append(self._end(row, "length"))
        return events

    def leave(self, handle: int) -> None:
        if (row := self._rows.of(handle)) is not None:
            self._end(row, "stop")

    def _read_preset(self, voice: str) -> Preset:
        """Raises PresetError, also if the preset was made for another model."""
        preset = read_preset(self._files[voice], self._cache)
        hidden = (self._model.config.upper.hidden_size,)
        if (
            not self._lower.fits(preset.language_model)
            or not self._upper.fits(preset.tts_language_model)
            or not self._upper.fits(preset.negative)
            or preset.negative_condition.shape != hidden
        ):
            raise PresetError(f"{self._files[voice].name} is not a voice for {self.card.name}")
        return preset

    def _tokenize(self, text: str) -> list[int]:
        """Token ids of a text, as in training; never includes control tokens."""
        text = text.translate(_QUOTES).strip()
        if not text:
            raise SpeechRejected("The text is empty.")
        return self._tokenizer.encode(text + "\n", add_special_tokens=False).ids

    def _read_texts(self, rows: Sequence[_Row]) -> None:
        """Let rows read the next windows of their texts."""
        if not rows:
            return
        windows = [row.ids[:TEXT_WINDOW] for row in rows]
        counts = [len(window) for window in windows]
        width = max(counts)
        padded = [window + [0] * (width - len(window)) for window in windows]
        ids = upload(torch.tensor(padded), self._model.device)
        lower, upper = [row.slot for row in rows], [row.with_text for row in rows]
        states = self._model.read_text(ids, lower, self._lower)
        states = self._model.read(states, TEXT, upper, self._upper)
        self._lower.advance(lower, counts)
        self._upper.advance(upper, counts)
        for row, count, state in zip(rows, counts, states, strict=True):
            row.positive = state[count - 1]
            del row.ids[:count]

    def _decode(self, latents: torch.Tensor, rows: Sequence[_Row]) -> list[Samples]:
        """The audio of each row, decoded from one latent per row."""
        self._contexts.select([row.slot for row in rows])
        audio = self._model.decode(latents, self._contexts)
        # First of two waits for the device in a step: the audio for the listener.
        return list(audio.float().cpu().numpy())

    def _read_frames(self, rows: Sequence[_Row]) -> list[Event]:
        """Let rows read their own last frames, and end the rows that have finished."""
        if not rows:
            return []
        latents = torch.stack([row.unread for row in rows if row.unread is not None])
        inputs = self._model.multi_modal_projector(latents).repeat_interleave(2, dim=0)[:, None]
        slots = [slot for row in rows for slot in (row.with_text, row.without_text)]
        states = self._model.read(inputs, SPEECH, slots, self._upper)[:, 0]
        self._upper.advance(slots, [1] * len(slots))
        # Second wait: is there a next frame?
        ended = self._model.tts_eos_classifier(states[::2]).sigmoid().gt(0.5).tolist()
        events: list[Event] = []
        for row, positive, negative, end in zip(
            rows, states[::2], states[1::2], ended, strict=True
        ):
            row.positive, row.negative, row.unread = positive, negative, None
            if end:
                events.append(self._end(row, "stop"))
        return events

    def _end(self, row: _Row, reason: Literal["stop", "length"]) -> End:
        self._rows.remove(row)
        self._lower.free(row.slot)
        self._upper.free(row.with_text)
        self._upper.free(row.without_text)
        return End(row.handle, reason)
