"""The speech models that can be served, where their weights lie, and what clients call them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vibevoice_tts.engine import SpeechEngine

ModelType = Literal["auto", "0.5b", "1.5b", "both", "espeak", "off"]
Kind = Literal["realtime", "full", "espeak"]
Dtype = Literal["auto", "float16", "bfloat16", "float32"]
Attention = Literal["sdpa", "eager"]

NAMES: Mapping[Kind, str] = {
    "realtime": "vibevoice-realtime-0.5b",
    "full": "vibevoice-1.5b",
    "espeak": "espeak",
}
"""Names that the models go by, in the order of preference for a name that is nobody's."""
FAST_NAMES = ("tts-1", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15")
"""OpenAI's models that answer at once: the Realtime model's."""
HD_NAMES = ("tts-1-hd", "tts-1-hd-1106")
"""OpenAI's models of high quality: the 1.5B model's."""

_FOLDERS: Mapping[Kind, tuple[str, str]] = {
    "realtime": ("VibeVoice-Realtime-0.5B", "voices/streaming_model"),
    "full": ("VibeVoice-1.5B", "voices/full_model"),
}
_KINDS: Mapping[ModelType, tuple[Kind, ...]] = {
    "0.5b": ("realtime",),
    "1.5b": ("full",),
    "both": ("realtime", "full"),
    "espeak": ("espeak",),
    "off": (),
}


class WeightsMissing(ValueError):
    """A model was asked for by name and its folder is not there."""


@dataclass(frozen=True)
class Model:
    """A model to load; JSON values only, since it travels to the worker."""

    kind: Kind
    folder: str = ""
    voices: str = ""
    """Folder of the voices."""
    cache: str = ""
    """Folder that keeps converted presets of the Realtime model; empty means none is kept."""
    device: str = ""
    """cuda, mps or cpu; empty means the best there is."""
    dtype: Dtype = "auto"
    """auto means bfloat16 on cuda, float32 elsewhere."""
    attention: Attention = "sdpa"
    capacity: int = 16
    """Requests inside at once."""

    @property
    def name(self) -> str:
        """What clients call it."""
        return NAMES[self.kind]

    @property
    def clones(self) -> bool:
        """Whether it speaks with voices that come with a request."""
        return self.kind == "full"


def choose_kinds(model_type: ModelType, models: Path | None) -> tuple[Kind, ...]:
    """The models to serve. `auto` takes those whose weights are in the folder `models`, and
    espeak where none are.

    Raises:
        WeightsMissing: a model asked for is not in `models`.
    """
    there: tuple[Kind, ...] = tuple(
        kind for kind, (folder, _) in _FOLDERS.items() if models and (models / folder).is_dir()
    )
    if model_type == "auto":
        return there or ("espeak",)
    for kind in _KINDS[model_type]:
        if kind != "espeak" and kind not in there:
            raise WeightsMissing(
                f"TTS_MODEL_TYPE={model_type} needs the folder {_FOLDERS[kind][0]} in MODEL_DIR."
            )
    return _KINDS[model_type]


def folders(kind: Kind, models: Path | None) -> dict[str, str]:
    """The arguments `folder` and `voices` of a Model."""
    if kind == "espeak" or models is None:
        return {}
    folder, voices = _FOLDERS[kind]
    return {"folder": str(models / folder), "voices": str(models / voices)}


def routes(kinds: Sequence[Kind]) -> dict[str, Kind]:
    """Every name that clients may use → the model that it means."""
    if not kinds:
        return {}
    fast = kinds[0]
    hd: Kind = "full" if "full" in kinds else fast
    return {
        **{NAMES[kind]: kind for kind in kinds},
        **dict.fromkeys(FAST_NAMES, fast),
        **dict.fromkeys(HD_NAMES, hd),
    }


def load_engine(model: Model) -> SpeechEngine:
    """Load a model. Only here are the libraries of the models imported.

    Raises:
        WeightsMissing: its folder has gone.
        vibevoice_tts.checkpoint.CheckpointError: the folder does not hold the model.
    """
    if model.kind == "espeak":
        from vibevoice_tts.espeak import Espeak

        return Espeak(model.capacity)
    if not Path(model.folder).is_dir():
        raise WeightsMissing(f"There is no folder {Path(model.folder).name}.")
    if model.kind == "realtime":
        from vibevoice_tts.realtime import Realtime as Engine
    else:
        from vibevoice_tts.full import Full as Engine
    return Engine.load(
        Path(model.folder),
        Path(model.voices),
        cache=Path(model.cache) if model.cache else None,
        capacity=model.capacity,
        device=model.device,
        dtype=model.dtype,
        attention=model.attention,
    )
