"""The 1.5B model: scripts with up to four voices, many requests in one batch.

The prompt of a request contains a recording of each voice and the whole script. For every frame,
the model first decides whether to continue. A diffusion head then generates the frame, guided by a
second branch that sees the speech but not the script, and both branches read the frame. The loop
follows transformers 5.19 (models/vibevoice/generation_vibevoice.py) and the PyPI package vibevoice
0.0.1, which run a fixed batch.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from tokenizers import Tokenizer

from vibevoice_core.audio import SAMPLE_RATE
from vibevoice_tts.engines.device import upload
from vibevoice_tts.engines.diffusion import Denoiser
from vibevoice_tts.engines.loading import find_voices, read_tokenizer
from vibevoice_tts.engines.longform_model import LongformModel, load_longform
from vibevoice_tts.engines.longform_prompt import BEGIN, END, END_OF_ALL, FRAME, PromptWriter
from vibevoice_tts.engines.rows import Row, Rows, next_latents
from vibevoice_tts.engines.sampling import Sampling
from vibevoice_tts.engines.slots import ConvolutionSlots, KeyValueSlots
from vibevoice_tts.engines.voice_features import PreparedVoices, VoiceFeatures
from vibevoice_tts.models import ModelConfig
from vibevoice_tts.speech_model import (
    Chunk,
    End,
    Event,
    Samples,
    SpeechRejected,
    SpeechRequest,
    Turn,
)
from vibevoice_tts.voices import VoiceTable

TOKENIZER = "Qwen/Qwen2.5-1.5B"
"""Repository whose tokenizer the model was trained with."""
CFG_SCALE = 1.3
STEPS = 10
"""Guidance and denoising steps of the published generation config."""
FRAMES_PER_WORD = 8
"""Frames per word above which a request counts as runaway; 150 words per minute needs about 3."""
EXTRA_FRAMES = 60
"""Additional frames allowed, for short texts."""
CHARACTERS_PER_WORD = 6
"""Number of characters that count as one word, for scripts without spaces between words."""
_ENDINGS = (".wav", ".flac", ".mp3", ".ogg")


@dataclass(eq=False, kw_only=True)
class _Row(Row):
    """A request in flight."""

    voices: PreparedVoices
    prompt: torch.Tensor | None
    """Embeddings [positions, hidden] of the prompt, until the model has read them."""
    tokens: int = 0
    """Tokens chosen so far: frame tokens and the other three kinds."""
    unread: torch.Tensor | None = None
    """Embedding [hidden] of the last token, until the model has read it."""


class Longform:
    """`SpeechModel` of a VibeVoice-1.5B."""

    sample_rate = SAMPLE_RATE

    def __init__(self, config: ModelConfig, model: LongformModel, tokenizer: Tokenizer) -> None:
        """Uses the voices and the capacity of `config`.

        Raises:
            CheckpointError: there are no voices, or the tokenizer belongs to another model.
        """
        self.card = config.card
        self._model, self._writer = model, PromptWriter(tokenizer)
        self._tokens = upload(torch.tensor(self._writer.tokens), model.device)
        files = find_voices(config, _ENDINGS)
        self._table = VoiceTable(tuple(files), self.card.voice_aliases)
        self._features = VoiceFeatures(model, files)
        self._key_values = KeyValueSlots(model.text_config, model.dtype, model.device)
        self._decoder = ConvolutionSlots(config.capacity, model.device)
        self._encoder = ConvolutionSlots(config.capacity, model.device)
        self._denoise = Denoiser(model.head)
        self._max_positions = model.text_config.max_position_embeddings
        self._rows: Rows[_Row] = Rows(config.capacity)

    @classmethod
    def load(cls, config: ModelConfig) -> Self:
        """Load a folder in either published layout.

        Raises:
            CheckpointError: the folder does not contain such a model, or there are no voices.
        """
        model = load_longform(config)
        return cls(config, model, read_tokenizer(Path(config.folder), TOKENIZER))

    def voices(self) -> tuple[str, ...]:
        return self._table.names

    def find_voice(self, name: str) -> str:
        return self._table.find(name)

    @torch.inference_mode()
    def join(self, request: SpeechRequest) -> int:
        handle, slot = self._rows.next_slot()
        turns = [self._turn(turn, request.samples) for turn in request.turns]
        words = sum(
            max(len(turn.text.split()), len(turn.text) // CHARACTERS_PER_WORD) for turn in turns
        )
        sampling = Sampling.of(
            request,
            cfg_scale=CFG_SCALE,
            steps=STEPS,
            max_frames=FRAMES_PER_WORD * words + EXTRA_FRAMES,
        )
        speakers = list(dict.fromkeys(turn.voice for turn in turns))
        if len(speakers) > self.card.max_speakers:
            raise SpeechRejected(
                f"{self.card.name} supports up to {self.card.max_speakers} voices; the script has "
                f"{len(speakers)}."
            )
        voices = self._features.prepare(speakers, request.samples)
        written = self._writer.write(turns, speakers, [len(voice) for voice in voices.latents])
        most = self._max_positions - EXTRA_FRAMES
        if len(written.ids) > most:
            raise SpeechRejected(
                f"The script and its voices take {len(written.ids)} tokens; {self.card.name} "
                f"accepts at most {most}. Send it in parts."
            )
        device = self._model.device
        prompt = self._model.embed(upload(torch.tensor(written.ids), device))
        spoken = self._model.embed_voices(voices.latents, sampling.generator)
        prompt.index_copy_(0, upload(torch.tensor(written.voice_positions), device), spoken)
        row = _Row(
            handle=handle,
            slot=slot,
            sampling=sampling,
            positive=prompt[-1],
            negative=prompt[-1],
            voices=voices,
            prompt=prompt,
        )
        self._key_values.start(row.with_text)
        self._key_values.start(row.without_text)
        self._decoder.reset(slot)
        self._encoder.reset(slot)
        self._rows.add(row)
        return handle

    @torch.inference_mode()
    def step(self) -> list[Event]:
        events: list[Event] = []
        # Read the previous step's frames only now, so that their audio did not have to wait.
        self._read_tokens([row for row in self._rows if row.unread is not None])
        for row in self._rows:
            if row.prompt is not None:
                self._read_prompt(row, row.prompt)
                events.append(row.voices.event(row.handle))
        rows = list(self._rows)
        if not rows:
            return []
        choices = self._model.choose(torch.stack([row.positive for row in rows]), self._tokens)
        inputs = self._model.embed(self._tokens.index_select(0, choices))
        # First of two waits for the device in a step: is there a next frame?
        chosen = choices.tolist()
        speaking = [n for n, token in enumerate(chosen) if token == FRAME]
        if speaking:
            chunks, embedded = self._speak([rows[n] for n in speaking])
            if len(speaking) < len(rows):
                numbers = upload(torch.tensor(speaking), self._model.device)
                embedded = inputs.index_copy_(0, numbers, embedded)
            inputs = embedded
            for n, chunk in zip(speaking, chunks, strict=True):
                events.append(Chunk(rows[n].handle, chunk))
        for row, token, embedding in zip(rows, chosen, inputs, strict=True):
            row.tokens += 1
            row.unread = embedding
            if token == END_OF_ALL:
                events.append(self._end(row, "stop"))
            elif self._is_runaway(row):
                events.append(self._end(row, "length"))
            elif token == END:
                self._decoder.reset(row.slot)
                self._encoder.reset(row.slot)
            elif token == BEGIN:
                # The branch without a script restarts at the next token that it reads.
                self._key_values.start(row.without_text)
        return events

    def leave(self, handle: int) -> None:
        if (row := self._rows.of(handle)) is not None:
            self._end(row, "stop")

    def _is_runaway(self, row: _Row) -> bool:
        return (
            row.frames >= row.sampling.max_frames
            or row.tokens >= row.sampling.max_frames + EXTRA_FRAMES
            or self._key_values.length(row.with_text) >= self._max_positions
        )

    def _turn(self, turn: Turn, samples: Container[str]) -> Turn:
        """The turn as one line of text, with its voice name resolved."""
        text = " ".join(turn.text.split())
        if not text:
            raise SpeechRejected("A turn in the script is empty.")
        voice = turn.voice if turn.voice in samples else self._table.find(turn.voice)
        return Turn(text, voice)

    def _read_prompt(self, row: _Row, prompt: torch.Tensor) -> None:
        """Let a new row read its prompt; the branch without script reads only its last token."""
        for slot, inputs in ((row.with_text, prompt), (row.without_text, prompt[-1:])):
            hidden = self._model.read(inputs[None], [slot], self._key_values)[0, -1]
            if slot == row.with_text:
                row.positive = hidden
                self._key_values.advance([slot], [len(inputs)])
            else:
                row.negative = hidden
        row.prompt = None

    def _speak(self, rows: Sequence[_Row]) -> tuple[list[Samples], torch.Tensor]:
        """The next frame of each row: its samples, and the embeddings, [rows, hidden]."""
        # The branch without a script counts only the tokens that became frames.
        self._key_values.advance([row.without_text for row in rows], [1] * len(rows))
        latents = next_latents(self._denoise, rows, self._model.latent_size)
        slots = [row.slot for row in rows]
        self._decoder.select(slots)
        self._encoder.select(slots)
        audio = self._model.decode(latents, self._decoder)
        embedded = self._model.embed_frames(latents, audio, self._encoder)
        for row in rows:
            row.frames += 1
        # Second wait: the audio for the listener.
        return list(audio[:, 0].float().cpu().numpy()), embedded

    def _read_tokens(self, rows: Sequence[_Row]) -> None:
        """Let both branches of each row read the row's last token."""
        if not rows:
            return
        inputs = torch.stack([row.unread for row in rows if row.unread is not None])
        slots = [slot for row in rows for slot in (row.with_text, row.without_text)]
        hidden = self._model.read(
            inputs.repeat_interleave(2, dim=0)[:, None], slots, self._key_values
        )
        self._key_values.advance([row.with_text for row in rows], [1] * len(rows))
        for row, positive, negative in zip(rows, hidden[::2, 0], hidden[1::2, 0], strict=True):
            row.positive, row.negative, row.unread = positive, negative, None

    def _end(self, row: _Row, reason: Literal["stop", "length"]) -> End:
        self._rows.remove(row)
        self._key_values.free(row.with_text)
        self._key_values.free(row.without_text)
        return End(row.handle, reason)
