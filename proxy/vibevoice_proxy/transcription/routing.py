"""Maps model names to recognizers. Requests never fall back to another recognizer."""

from collections.abc import Sequence
from dataclasses import dataclass

from vibevoice_proxy.errors import ModelNotFound
from vibevoice_proxy.setting_checks import LIGHT
from vibevoice_proxy.settings import Settings
from vibevoice_proxy.transcription.assembly import Recognizer

ENGINE_PREFIX = "vibevoice"
"""Aliases with this prefix always select the engine."""


@dataclass(frozen=True, slots=True)
class Route:
    """A model and its recognizer."""

    name: str
    """The canonical name of the model."""
    aliases: tuple[str, ...]
    part: str
    """The recognizer's name in /health and in the metrics."""
    recognizer: Recognizer


class Routing:
    """The routes of this process."""

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
        """The route for a model name; the default if the name is empty, or if it is unknown and
        names are not strict. Raises ModelNotFound for disabled and unknown models."""
        if not self.routes:
            raise ModelNotFound(
                "Transcription is disabled on this server (ASR_API=off). VIBEVOICE_LIGHT=on "
                "enables the light recognizer.",
                param="model",
            )
        if route := self._names.get(model or self.routes[0].name):
            return route
        if self._is_strict or model in self._own_names:
            own = ", ".join(route.name for route in self.routes)
            raise ModelNotFound(
                f"The model {model!r} does not exist; expected {own}, or one of the other names "
                "that GET /v1/models lists.",
                param="model",
            )
        return self.routes[0]


def build_routing(
    settings: Settings, engine: Recognizer | None, light: Recognizer | None
) -> Routing:
    """Create the routes to the available recognizers. If the light recognizer is on, it is the
    default and has OpenAI's names; the engine keeps its own name and the aliases with that
    prefix."""
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
