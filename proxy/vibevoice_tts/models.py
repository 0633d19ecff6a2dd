"""The speech models that can be served, in one table.

To add a model, add a row to MODELS and a module to `vibevoice_tts.engines`. This module imports
none of those modules: the worker imports the one that it needs by its name in the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypedDict

Dtype = Literal["auto", "float16", "bfloat16", "float32"]
Attention = Literal["sdpa", "eager"]


class ModelFolders(TypedDict, total=False):
    """Arguments of ModelConfig that depend on MODEL_DIR."""

    folder: str
    voices: str


class ModelUnusable(Exception):
    """A model cannot be used as configured; the message says what has to change."""


class WeightsMissing(ModelUnusable, ValueError):
    """A model was requested by name, but its folder or package does not exist."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One speech model."""

    kind: str
    """Key of the row."""
    name: str
    """What clients call it."""
    setting: str
    """Value of TTS_MODEL_TYPE that serves only this model."""
    engine: str
    """`module:class` of its `SpeechModel`."""
    folder: str = ""
    """Folder of the weights in MODEL_DIR; empty if the model needs none."""
    voices_folder: str = ""
    """Folder of the voices in MODEL_DIR; empty if the model includes its own."""
    packages: tuple[str, ...] = ()
    """Import names of the packages that provide a model without a folder."""
    openai_names: tuple[str, ...] = ()
    """OpenAI model names that map to this model if it is served, otherwise to the first one
    served."""
    voice_aliases: Mapping[str, str] = field(compare=False)
    """OpenAI's voices → similar-sounding voices of this model."""
    max_speakers: int
    """Maximum number of different voices in one request."""
    clones: bool
    """Whether it can use voices supplied with a request."""
    english_only: bool = False
    """Whether it rejects text in non-Latin letters."""
    behind: str = ""
    """Key of the fallback model, which speaks voices or writing systems that this model lacks,
    unless the client asked for this model by its own name. Empty if there is none."""

    @property
    def is_installed(self) -> bool:
        """Whether its packages are installed; they are not imported to find out."""
        return all(find_spec(package) for package in self.packages)

    def folders(self, models_folder: Path | None) -> ModelFolders:
        """The folders of its weights and voices; `models_folder` is MODEL_DIR."""
        if not self.folder or models_folder is None:
            return {}
        return {
            "folder": str(models_folder / self.folder),
            "voices": str(models_folder / self.voices_folder),
        }


MODELS: tuple[ModelCard, ...] = (
    ModelCard(
        kind="realtime",
        name="vibevoice-realtime-0.5b",
        setting="0.5b",
        engine="vibevoice_tts.engines.realtime:Realtime",
        folder="VibeVoice-Realtime-0.5B",
        voices_folder="voices/streaming_model",
        openai_names=("tts-1", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"),
        voice_aliases=MappingProxyType(
            {
                "alloy": "en-Emma_woman",
                "ash": "en-Carter_man",
                "ballad": "en-Davis_man",
                "cedar": "en-Davis_man",
                "coral": "en-Grace_woman",
                "echo": "en-Mike_man",
                "fable": "in-Samuel_man",
                "marin": "en-Grace_woman",
                "nova": "en-Grace_woman",
                "onyx": "en-Frank_man",
                "sage": "en-Emma_woman",
                "shimmer": "en-Emma_woman",
                "verse": "en-Mike_man",
            }
        ),
        max_speakers=1,
        clones=False,
    ),
    ModelCard(
        kind="longform",
        name="vibevoice-1.5b",
        setting="1.5b",
        engine="vibevoice_tts.engines.longform:Longform",
        folder="VibeVoice-1.5B",
        voices_folder="voices/full_model",
        openai_names=("tts-1-hd", "tts-1-hd-1106"),
        voice_aliases=MappingProxyType(
            {
                "alloy": "en-Maya_woman",
                "ash": "en-Carter_man",
                "ballad": "en-Frank_man",
                "cedar": "en-Frank_man",
                "coral": "en-Maya_woman",
                "echo": "en-Carter_man",
                "fable": "in-Samuel_man",
                "marin": "en-Maya_woman",
                "nova": "en-Alice_woman",
                "onyx": "en-Frank_man",
                "sage": "en-Maya_woman",
                "shimmer": "en-Alice_woman",
                "verse": "en-Carter_man",
            }
        ),
        max_speakers=4,
        clones=True,
    ),
    ModelCard(
        kind="hibari",
        name="hibari",
        setting="hibari",
        engine="vibevoice_tts.engines.hibari:Hibari",
        packages=("hibari", "onnxruntime"),
        voice_aliases=MappingProxyType(
            dict.fromkeys(
                (
                    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin"),
                    *("nova", "onyx", "sage", "shimmer", "verse"),
                ),
                "hibari-heart",
            )
        ),
        max_speakers=1,
        clones=False,
        english_only=True,
        behind="espeak",
    ),
    ModelCard(
        kind="espeak",
        name="espeak",
        setting="espeak",
        engine="vibevoice_tts.engines.espeak:Espeak",
        packages=("espeakng_loader",),
        voice_aliases=MappingProxyType(
            {
                "alloy": "espeak-en-us-woman",
                "ash": "espeak-en-us-man",
                "ballad": "espeak-en-gb-man",
                "cedar": "espeak-en-us-man-low",
                "coral": "espeak-en-us-woman",
                "echo": "espeak-en-us-man",
                "fable": "espeak-en-gb-man",
                "marin": "espeak-en-us-woman-low",
                "nova": "espeak-en-gb-woman",
                "onyx": "espeak-en-us-man-low",
                "sage": "espeak-en-gb-woman",
                "shimmer": "espeak-en-us-woman-low",
                "verse": "espeak-en-us-man",
            }
        ),
        max_speakers=4,
        clones=False,
    ),
)
"""In order of preference: the first one served is used for every name that no other model has."""

MODEL_TYPES = ("auto", *(card.setting for card in MODELS), "both", "off")
"""Values of TTS_MODEL_TYPE."""


@dataclass(frozen=True)
class ModelConfig:
    """Which model to load, and how. Holds only JSON values, since it is sent to the worker."""

    kind: str
    """Key of its card."""
    _: KW_ONLY
    folder: str = ""
    """Folder of the weights."""
    voices: str = ""
    """Folder of the voices."""
    cache: str = ""
    """Cache folder for converted presets of the Realtime model; empty disables the cache."""
    device: str = ""
    """cuda, mps or cpu; empty means the best one available."""
    dtype: Dtype = "auto"
    """auto means bfloat16 on a GPU that supports it, float32 elsewhere."""
    attention: Attention = "sdpa"
    capacity: int = 16
    """Requests spoken at the same time."""

    @property
    def card(self) -> ModelCard:
        """The row in MODELS; raises KeyError if the kind is unknown."""
        return {card.kind: card for card in MODELS}[self.kind]


def choose_models(model_type: str, models_folder: Path | None) -> tuple[ModelCard, ...]:
    """The models selected by `model_type`, a value of TTS_MODEL_TYPE.

    `both` selects every model with weights. `auto` selects those whose weights are in
    `models_folder` (MODEL_DIR); if there are none, the first installed model that needs no folder,
    and its fallback.

    Raises:
        WeightsMissing: the weights of a chosen model are not in `models_folder`, or its package is
            not installed.
        ValueError: `model_type` is unknown.
    """
    with_weights = tuple(card for card in MODELS if card.folder)
    found = tuple(
        card for card in with_weights if models_folder and (models_folder / card.folder).is_dir()
    )
    match model_type:
        case "auto":
            return found or _without_weights()
        case "off":
            return ()
        case "both":
            chosen = with_weights
        case _:
            chosen = tuple(card for card in MODELS if card.setting == model_type)
    if not chosen:
        raise ValueError(
            f"TTS_MODEL_TYPE is {model_type!r}; expected one of {', '.join(MODEL_TYPES)}."
        )
    for card in chosen:
        if card.folder and card not in found:
            raise WeightsMissing(
                f"TTS_MODEL_TYPE={model_type} needs the folder {card.folder} in MODEL_DIR."
            )
        if not card.is_installed:
            raise WeightsMissing(
                f"TTS_MODEL_TYPE={model_type} needs the Python packages "
                f"{' and '.join(card.packages)}."
            )
    return chosen


def _without_weights() -> tuple[ModelCard, ...]:
    """The first installed model that needs no folder, and its fallback."""
    installed = [card for card in MODELS if not card.folder and card.is_installed]
    wanted = {kind for card in installed[:1] for kind in (card.kind, card.behind)}
    return tuple(card for card in installed if card.kind in wanted)


def routes(cards: Sequence[ModelCard]) -> dict[str, ModelCard]:
    """Every name that clients may use → its model; the models' own names come first."""
    if not cards:
        return {}
    openai = {name: card for card in MODELS for name in card.openai_names}
    return {
        **{card.name: card for card in cards},
        **{name: card if card in cards else cards[0] for name, card in openai.items()},
    }
