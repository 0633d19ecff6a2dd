"""The 1.5B model as an engine: scripts of up to four voices, many requests in one batch.

A request's prompt holds a recording of each voice and the whole script. From there the model says
for every frame whether it goes on; a diffusion head makes the frame, guided by a second branch
that knows the speech but not the script, and both branches read what was made (loop of
transformers 5.19, models/vibevoice/generation_vibevoice.py, and of the PyPI package vibevoice
0.0.1, which runs a fixed batch).
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tokenizers import Tokenizer

from vibevoice_tts.checkpoint import CheckpointError, attention_name, place, read_tokenizer
from vibevoice_tts.diffusion import Denoiser
from vibevoice_tts.engine import Chunk, End, Event, InvalidRequest, Samples, SpeechRequest, Turn
from vibevoice_tts.full_model import FullModel, load_full
from vibevoice_tts.recordings import SAMPLE_RATE, normalise, read_recording, trim
from vibevoice_tts.sampling import Sampling
from vibevoice_tts.slots import ConvolutionSlots, KeyValueSlots
from vibevoice_tts.voices import FULL_ALIASES, Lru, VoiceTable, voice_files

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
LEAST_SECONDS, GOOD_SECONDS = 3.0, 6.0
"""A voice sent with a request is refused below the first, and below the second the log warns."""
SYSTEM = (
    " Transform the text provided by various speakers into speech output, utilizing the distinct "
    "voice of each respective speaker.\n"
)
TOKENS = ("<|vision_pad|>", "<|vision_start|>", "<|vision_end|>", "<|endoftext|>")
"""What the model says: a frame, begin, end, end of all. Names from before there was speech."""
_FRAME, _BEGIN, _END, _END_OF_ALL = range(len(TOKENS))
_ENDINGS = (".wav", ".flac", ".mp3", ".ogg")
_VOICES_KEPT = 64

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Row:
    """A request inside."""

    handle: int
    slot: int
    prompt: torch.Tensor | None
    """Embeddings [positions, hidden] that are still to be read."""
    sampling: Sampling
    positive: torch.Tensor
    """Last hidden state with the script, [hidden]."""
    negative: torch.Tensor
    """Last hidden state without the script, [hidden]."""
    frames: int = 0
    tokens: int = 0

    @property
    def with_text(self) -> int:
        return 2 * self.slot

    @property
    def without_text(self) -> int:
        return 2 * self.slot + 1


class Full:
    """`SpeechEngine` of a VibeVoice-1.5B."""

    name = "vibevoice-1.5b"
    sample_rate = SAMPLE_RATE
    max_speakers = 4
    clones = True

    def __init__(
        self, model: FullModel, tokenizer: Tokenizer, voices: Path, capacity: int = 8
    ) -> None:
        """`voices` is the folder of recordings."""
        self.capacity = capacity
        self._model, self._tokenizer = model, tokenizer
        tokens = [tokenizer.token_to_id(token) for token in TOKENS]
        self._tokens = [token for token in tokens if token is not None]
        if len(self._tokens) != len(TOKENS):
            raise CheckpointError(f"The tokenizer lacks one of {', '.join(TOKENS)}")
        self._files = voice_files(voices, _ENDINGS)
        self._table = VoiceTable(tuple(self._files), FULL_ALIASES)
        self._recordings: Lru[Samples] = Lru(_VOICES_KEPT)
        self._latents: Lru[torch.Tensor] = Lru(_VOICES_KEPT)
        self._held = KeyValueSlots(model.text_config, model.dtype, model.device)
        self._decoder, self._encoder = ConvolutionSlots(), ConvolutionSlots()
        self._denoise = Denoiser(model.head)
        self._rows: list[_Row] = []
        self._handles = 0

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
        attention: str = "sdpa",
    ) -> "Full":
        """The engine of a folder in either published layout, with the recordings of another;
        `cache` is not needed, since a recording is encoded anew by each process.

        Raises:
            CheckpointError: the folder holds no such model, or there are no voices.
        """
        model = load_full(folder, *place(device, dtype), attention_name(attention))
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
        if len(self._rows) >= self.capacity:
            raise RuntimeError("all places are taken")
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
        prompt = self._prompt(turns, request.samples, sampling.generator)
        room = self._limit - EXTRA_FRAMES
        if len(prompt) > room:
            raise InvalidRequest(
                f"The script and its voices take {len(prompt)} positions, and {self.name} has "
                f"room for {room}; send it in parts."
            )
        taken = {row.slot for row in self._rows}
        slot = next(n for n in range(self.capacity) if n not in taken)
        self._handles += 1
        row = _Row(self._handles, slot, prompt, sampling, prompt[-1], prompt[-1])
        self._held.start(row.with_text)
        self._held.start(row.without_text)
        self._decoder.reset(slot)
        self._encoder.reset(slot)
        self._rows = sorted([*self._rows, row], key=lambda row: row.slot)
        return row.handle

    @torch.inference_mode()
    def step(self) -> list[Event]:
        for row in self._rows:
            if row.prompt is not None:
                self._read_prompt(row)
        if not self._rows:
            return []
        rows = list(self._rows)
        chosen = self._model.choose(torch.stack([row.positive for row in rows]), self._tokens)
        inputs = self._model.embed([self._tokens[token] for token in chosen])
        events: list[Event] = []
        speaking = [n for n, token in enumerate(chosen) if token == _FRAME]
        if speaking:
            chunks, heard = self._speak([rows[n] for n in speaking])
            inputs[speaking] = heard
            for n, chunk in zip(speaking, chunks, strict=True):
                events.append(Chunk(rows[n].handle, chunk))
        for row, token in zip(rows, chosen, strict=True):
            row.tokens += 1
            if token == _END_OF_ALL:
                events.append(self._finish(row, "stop"))
            elif (
                row.frames >= row.sampling.max_frames
                or row.tokens >= row.sampling.max_frames + EXTRA_FRAMES
                or self._held.length(row.with_text) >= self._limit
            ):
                events.append(self._finish(row, "length"))
            elif token == _END:
                self._decoder.reset(row.slot)
                self._encoder.reset(row.slot)
            elif token == _BEGIN:
                # what it reads next, the token itself, is what it began with
                self._held.start(row.without_text)
        going = [n for n, row in enumerate(rows) if row in self._rows]
        if going:
            self._read([rows[n] for n in going], inputs[going])
        return events

    def leave(self, handle: int) -> None:
        for row in [row for row in self._rows if row.handle == handle]:
            self._finish(row, "stop")

    @property
    def _limit(self) -> int:
        return self._model.text_config.max_position_embeddings

    def _turn(self, turn: Turn, samples: Mapping[str, Samples]) -> Turn:
        text = " ".join(turn.text.split())
        if not text:
            raise InvalidRequest("A turn of the script is empty.")
        voice = turn.voice if turn.voice in samples else self._table.find(turn.voice)
        return Turn(text, voice)

    def _prompt(
        self, turns: Sequence[Turn], samples: Mapping[str, Samples], random: torch.Generator
    ) -> torch.Tensor:
        """Embeddings [positions, hidden] of the recordings and the script."""
        speakers = list(dict.fromkeys(turn.voice for turn in turns))
        if len(speakers) > self.max_speakers:
            raise InvalidRequest(
                f"{self.name} speaks with up to {self.max_speakers} voices, and {len(speakers)} "
                "are given."
            )
        latents = [self._voice(speaker, samples) for speaker in speakers]
        frame, begin, end, _ = self._tokens
        ids = [*self._ids(SYSTEM), *self._ids(" Voice input:\n")]
        places: list[int] = []
        for number, latent in enumerate(latents):
            ids += [*self._ids(f" Speaker {number}:"), begin]
            places += range(len(ids), len(ids) + len(latent))
            ids += [*[frame] * len(latent), end, *self._ids("\n")]
        ids += self._ids(" Text input:\n")
        for turn in turns:
            ids += self._ids(f" Speaker {speakers.index(turn.voice)}: {turn.text}\n")
        ids += [*self._ids(" Speech output:\n"), begin]
        embeddings = self._model.embed(ids)
        embeddings[places] = self._model.embed_voice(latents, random)
        return embeddings

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def _voice(self, name: str, samples: Mapping[str, Samples]) -> torch.Tensor:
        """Mean latents [frames, latent] of a voice; computed once for the same recording."""
        if name in samples:
            recording = trim(np.asarray(samples[name], np.float32))
            seconds = recording.size / SAMPLE_RATE
            if not np.isfinite(recording).all() or seconds < LEAST_SECONDS:
                raise InvalidRequest(
                    f"The sample of voice {name!r} has {seconds:.1f} s of speech; 6 to 30 s are "
                    f"needed, and at least {LEAST_SECONDS:g} s."
                )
            if seconds < GOOD_SECONDS:
                _log.warning("A voice is cloned from %.1f s; below 6 s it is unstable", seconds)
        else:
            recording = self._recordings.get(name, lambda: trim(read_recording(self._files[name])))
        return self._latents.get(
            hashlib.sha256(recording.tobytes()).hexdigest(),
            lambda: self._model.encode_voice(torch.from_numpy(normalise(recording))),
        )

    def _read_prompt(self, row: _Row) -> None:
        """Let a new row read its prompt, and its other branch the prompt's last token."""
        assert row.prompt is not None
        for slot, inputs in ((row.with_text, row.prompt), (row.without_text, row.prompt[-1:])):
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
        noise = torch.stack([row.sampling.noise(self._model.latent_size) for row in rows])
        latents = self._denoise(
            torch.stack([row.positive for row in rows]),
            torch.stack([row.negative for row in rows]),
            noise.to(self._model.device, self._model.dtype),
            [row.sampling.cfg_scale for row in rows],
            [row.sampling.steps for row in rows],
        )
        slots = [row.slot for row in rows]
        self._decoder.select(slots)
        self._encoder.select(slots)
        audio = self._model.decode(latents, self._decoder)
        heard = self._model.hear(latents, audio, self._encoder)
        for row in rows:
            row.frames += 1
        return list(audio[:, 0].float().cpu().numpy()), heard

    def _read(self, rows: Sequence[_Row], inputs: torch.Tensor) -> None:
        """Let both branches of each row read its next input, [rows, hidden]."""
        slots = [slot for row in rows for slot in (row.with_text, row.without_text)]
        hidden = self._model.read(inputs.repeat_interleave(2, dim=0)[:, None], slots, self._held)[
            :, 0
        ]
        self._held.advance([row.with_text for row in rows], [1] * len(rows))
        for row, positive, negative in zip(rows, hidden[::2], hidden[1::2], strict=True):
            row.positive, row.negative = positive, negative

    def _finish(self, row: _Row, reason: Literal["stop", "length"]) -> End:
        self._rows.remove(row)
        self._held.free(row.with_text)
        self._held.free(row.without_text)
        return End(row.handle, reason)
