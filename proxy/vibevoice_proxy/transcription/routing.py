"""Which recognizer a model name means. Nothing ever goes from one to another by itself."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vibevoice_light import ModelFilesMissing, find_moonshine
from vibevoice_proxy.errors import ModelNotFound
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.assembly import Recognizer

LIGHT = "light"
"""The name of the light recognizer's model, and of its part in /health."""
ENGINE_PREFIX = "vibevoice"
"""Aliases that begin so mean the engine, whatever else there is."""
REAL_BYTES = 1024**3
"""Weights of at least so much are a real VibeVoice-ASR (17 GB; the embedded one has 12 MB)."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """A model and what recognizes with it."""

    name: str
    """The model's own name."""
    aliases: tuple[str, ...]
    part: str
    """Its name in /health and in the metrics."""
    recognizer: Recognizer


class Routing:
    """The routes of a process."""

    def __init__(self, routes: Sequence[Route], settings: Settings) -> None:
        """The first of `routes` is the default."""
        self.routes = tuple(routes)
        self._names = {
            **{alias: route for route in routes for alias in route.aliases},
            **{route.name: route for route in routes},
        }
        of_engine = (name for name in settings.model_aliases if name.startswith(ENGINE_PREFIX))
        self._own_names = {LIGHT, settings.served_model_name, *of_engine}
        self._is_strict = settings.strict_model_names

    @property
    def names(self) -> list[str]:
        """Every name that clients may use, the models' own names first."""
        return list(dict.fromkeys([*(route.name for route in self.routes), *self._names]))

    def find(self, model: str) -> Route:
        """The route of a model name; the default where it is empty, or unknown and names are not
        strict. Raises ModelNotFound for a model that is switched off, and for an unknown one."""
        if not self.routes:
            raise ModelNotFound("This server does not transcribe (ASR_API=off).", param="model")
        if route := self._names.get(model or self.routes[0].name):
            return route
        if self._is_strict or model in self._own_names:
            own = ", ".join(route.name for route in self.routes)
            raise ModelNotFound(
                f"The model {model!r} does not exist; expected {own}.", param="model"
            )
        return self.routes[0]


def build_routing(
    settings: Settings, engine: Recognizer | None, light: Recognizer | None
) -> Routing:
    """The routes to the recognizers that there are. With the light one, OpenAI's names are its
    own and it is the default; the engine keeps its name and the aliases that begin with it."""
    routes: list[Route] = []
    aliases = settings.model_aliases
    of_engine = tuple(name for name in aliases if name.startswith(ENGINE_PREFIX))
    if light:
        rest = tuple(name for name in aliases if name not in of_engine)
        routes.append(Route(LIGHT, rest, LIGHT, light))
    if engine:
        kept = of_engine if light else aliases
        routes.append(Route(settings.served_model_name, kept, "asr", engine))
    return Routing(routes, settings)


def choose_light(settings: Settings) -> Path | None:
    """The folder of the light recognizer's model; None where it is off.

    `auto` means on where the engine has no real VibeVoice-ASR, as far as the settings tell: those
    of MODEL_DIR, or no engine named. Where the model's files are missing it is off then, with a
    warning. Raises ModelFilesMissing when it is on and they are missing.
    """
    match settings.light:
        case "off":
            return None
        case "on":
            return find_moonshine(settings.light_models)
        case "auto":
            if _is_engine_real(settings):
                return None
            try:
                return find_moonshine(settings.light_models)
            except ModelFilesMissing as error:
                logger.warning("%s Without it everything goes to the engine.", error)
                return None


def _is_engine_real(settings: Settings) -> bool:
    """Whether the settings speak of an engine with a real checkpoint, or of none at all."""
    if settings.asr_api != "chat":
        return True
    if not settings.model_dir:
        return bool(settings.asr_base_url)
    folder = Path(settings.model_dir)
    if not folder.is_dir():
        return True  # a name on the hub
    for checkpoint in (folder, folder / "VibeVoice-ASR"):
        if weights := list(checkpoint.glob("*.safetensors")):
            return sum(file.stat().st_size for file in weights) >= REAL_BYTES
    return bool(settings.asr_base_url)
