"""The 1.5B model as an engine: scripts of up to four voices, many requests in one batch.

A request's prompt holds a recording of each voice and the whole script. From there the model says
for every frame whether it goes on; a diffusion head makes the frame, guided by a second branch
that knows the speech but not the script, and both branches read what was made (loop of
transformers 5.19, models/vibevoice/generation_vibevoice.py, and of the PyPI package vibevoice
0.0.1, which runs a fixed batch).
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer

from vibevoice_tts.checkpoint import CheckpointError, place, read_tokenizer
from vibevoice_tts.diffusion import Denoiser
from vibevoice_tts.engine import (
    Chunk,
    End,
    Event,
    InvalidRequest,
    Prepared,
    Samples,
    SpeechRequest,
    Turn,
)
from vibevoice_tts.full_model import FullModel, load_full
from vibevoice_tts.full_prompt import BEGIN, END, END_OF_ALL, FRAME, PromptWriter
from vibevoice_tts.models import Attention
from vibevoice_tts.recordings import SAMPLE_RATE
from vibevoice_tts.rows import Row, Rows, next_latents
from vibevoice_tts.sampling import Sampling
from vibevoice_tts.slots import ConvolutionSlots, KeyValueSlots
from vibevoice_tts.voice_features import PreparedVoices, VoiceFeatures
from vibevoice_tts.voices import FULL_ALIASES, VoiceTable, voice_files

TOKENIZER = "Qwen/Qwen2.5-1.5B"
"""Repository whose tokenizer the model was trained with."""
CFG_SCALE = 1.3
STEPS = 10
"""Guidance and denoising steps of the published generation config."""
FRAMES_PER_WORD = 8
"""Frames for a word above which a request has run away: speech at 150 words a minute needs 3."""
EXTRA_FRAMES = 60
CHARACTERS_PER_WORD = 6
"""Characters that count as a word, for scripts without spaces between words."""
_ENDINGS = (".wav", ".flac", ".mp3", ".ogg")


@dataclass(eq=False, kw_only=True)
class _Row(Row):
    """A request inside."""

    voices: PreparedVoices
    prompt: torch.Tensor | None
    """Embeddings [positions, hidden] that are still to be read."""
    tokens: int = 0
    unread: torch.Tensor | None = None
    """Embedding [hidden] of what the row said last, until it has read it."""


class Full:
    """`SpeechEngine` of a VibeVoice-1.5B."""

    name = "vibevoice-1.5b"
    sample_rate = SAMPLE_RATE
    max_speakers = 4

    def __init__(
        self, model: FullModel, tokenizer: Tokenizer, voices: Path, capacity: int = 8
    ) -> None:
        """`voices` is the folder of recordings."""
        self.capacity = capacity
        self._model, self._writer = model, PromptWriter(tokenizer)
        self._tokens = self._writer.tokens
        files = voice_files(voices, _ENDINGS)
        self._table = VoiceTable(tuple(files), FULL_ALIASES)
        self._features = VoiceFeatures(model, files)
        self._held = KeyValueSlots(model.text_config, model.dtype, model.device)
        self._decoder, self._encoder = ConvolutionSlots(), ConvolutionSlots()
        self._denoise = Denoiser(model.head)
        self._rows: Rows[_Row] = Rows(capacity)

    @classmethod
    def load(
        cls,
        folder: Path,
        voices: Path,
        *,
        cache: Path | None = None,
        capacity: int = 8,
        device: str = "",
        dtype: str = "auto",
        attention: Attention = "sdpa",
    ) -> "Full":
        """The engine of a folder in either published layout, with the recordings of another;
        `cache` is not needed, since a recording is encoded anew by each process.

        Raises:
            CheckpointError: the folder holds no such model, or there are no voices.
        """
        model = load_full(folder, *place(device, dtype), attention)
        engine = cls(model, read_tokenizer(folder, TOKENIZER), voices, capacity)
        if not engine.voices():
            raise CheckpointError(f"There are no voices (.wav) in the folder {voices.name}.")
        return engine

    def voices(self) -> tuple[str, ...]:
        return self._table.names

    def find_voice(self, name: str) -> str:
        return self._table.find(name)

    @torch.inference_mode()
    def join(self, request: SpeechRequest) -> int:
        self._rows.check_room()
        turns = [self._turn(turn, request.samples) for turn in request.turns]
        words = sum(
            max(len(turn.text.split()), len(turn.text) // CHARACTERS_PER_WORD) for turn in turns
        )
        sampling = Sampling.of(
            request,
            CFG_SCALE,
            STEPS,
            FRAMES_PER_WORD * words + EXTRA_FRAMES,
            self._model.frame_samples / self.sample_rate,
        )
        speakers = list(dict.fromkeys(turn.voice for turn in turns))
        if len(speakers) > self.max_speakers:
            raise InvalidRequest(
                f"{self.name} speaks with up to {self.max_speakers} voices, and {len(speakers)} "
                "are given."
            )
        voices = self._features.prepare(speakers, request.samples)
        written = self._writer.write(turns, speakers, [len(voice) for voice in voices.latents])
        room = self._limit - EXTRA_FRAMES
        if len(written.ids) > room:
            raise InvalidRequest(
                f"The script and its voices take {len(written.ids)} positions, and {self.name} has "
                f"room for {room}; send it in parts."
            )
        prompt = self._model.embed(written.ids)
        prompt[written.places] = self._model.embed_voice(voices.latents, sampling.generator)
        handle, slot = self._rows.next_place()
        row = _Row(handle, slot, sampling, prompt[-1], prompt[-1], voices=voices, prompt=prompt)
        self._held.start(row.with_text)
        self._held.start(row.without_text)
        self._decoder.reset(slot)
        self._encoder.reset(slot)
        self._rows.add(row)
        return handle

    @torch.inference_mode()
    def step(self) -> list[Event]:
        events: list[Event] = []
        # what was said before is read now: its audio did not have to wait for it
        self._read([row for row in self._rows if row.unread is not None])
        for row in self._rows:
            if row.prompt is not None:
                self._read_prompt(row, row.prompt)
                found, computed = row.voices.found, row.voices.computed
                events.append(Prepared(row.handle, found, computed, row.voices.seconds))
        rows = list(self._rows)
        if not rows:
            return []
        chosen = self._model.choose(torch.stack([row.positive for row in rows]), self._tokens)
        inputs = self._model.embed([self._tokens[token] for token in chosen])
        speaking = [n for n, token in enumerate(chosen) if token == FRAME]
        if speaking:
            chunks, heard = self._speak([rows[n] for n in speaking])
            inputs[speaking] = heard
            for n, chunk in zip(speaking, chunks, strict=True):
                events.append(Chunk(rows[n].handle, chunk))
        for row, token, said in zip(rows, chosen, inputs, strict=True):
            row.tokens += 1
            row.unread = said
            if token == END_OF_ALL:
                events.append(self._finish(row, "stop"))
            elif (
                row.frames >= row.sampling.max_frames
                or row.tokens >= row.sampling.max_frames + EXTRA_FRAMES
                or self._held.length(row.with_text) >= self._limit
            ):
                events.append(self._finish(row, "length"))
            elif token == END:
                self._decoder.reset(row.slot)
                self._encoder.reset(row.slot)
            elif token == BEGIN:
                # what it reads next, the token itself, is what it began with
                self._held.start(row.without_text)
        return events

    def leave(self, handle: int) -> None:
        if (row := self._rows.of(handle)) is not None:
            self._finish(row, "stop")

    @property
    def _limit(self) -> int:
        return self._model.text_config.max_position_embeddings

    def _turn(self, turn: Turn, samples: Container[str]) -> Turn:
        text = " ".join(turn.text.split())
        if not text:
            raise InvalidRequest("A turn of the script is empty.")
        voice = turn.voice if turn.voice in samples else self._table.find(turn.voice)
        return Turn(text, voice)

    def _read_prompt(self, row: _Row, prompt: torch.Tensor) -> None:
        """Let a new row read its prompt, and its other branch the prompt's last token."""
        for slot, inputs in ((row.with_text, prompt), (row.without_text, prompt[-1:])):
            hidden = self._model.read(inputs[None], [slot], self._held)[0, -1]
            if slot == row.with_text:
                row.positive = hidden
                self._held.advance([slot], [len(inputs)])
            else:
                row.negative = hidden
        row.prompt = None

    def _speak(self, rows: Sequence[_Row]) -> tuple[list[Samples], torch.Tensor]:
        """The next frame of each row: its samples, and its embedding, [rows, hidden]."""
        # the branch without a script counts only what became a frame
        self._held.advance([row.without_text for row in rows], [1] * len(rows))
        latents = next_latents(self._denoise, rows, self._model.latent_size)
        slots = [row.slot for row in rows]
        self._decoder.select(slots)
        self._encoder.select(slots)
        audio = self._model.decode(latents, self._decoder)
        heard = self._model.hear(latents, audio, self._encoder)
        for row in rows:
            row.frames += 1
        return list(audio[:, 0].float().cpu().numpy()), heard

    def _read(self, rows: Sequence[_Row]) -> None:
        """Let both branches of each row read what the row said last."""
        if not rows:
            return
        said = torch.stack([row.unread for row in rows if row.unread is not None])
        slots = [slot for row in rows for slot in (row.with_text, row.without_text)]
        hidden = self._model.read(said.repeat_interleave(2, dim=0)[:, None], slots, self._held)
        self._held.advance([row.with_text for row in rows], [1] * len(rows))
        for row, positive, negative in zip(rows, hidden[::2, 0], hidden[1::2, 0], strict=True):
            row.positive, row.negative, row.unread = positive, negative, None

    def _finish(self, row: _Row, reason: Literal["stop", "length"]) -> End:
        self._rows.remove(row)
        self._held.free(row.with_text)
        self._held.free(row.without_text)
        return End(row.handle, reason)
