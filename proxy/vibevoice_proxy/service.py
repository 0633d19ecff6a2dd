"""The interface of the application's services: transcription and speech."""

from collections.abc import Sequence
from typing import Protocol, cast

from starlette.requests import Request


class Service(Protocol):
    """A service that runs as long as the process and serves named models."""

    @property
    def model_names(self) -> Sequence[str]:
        """Every name that clients may use, the models' own names first."""
        ...

    async def check_health(self) -> dict[str, str]:
        """Each part of the service → `ok`, or why it cannot serve requests now."""
        ...


def services_of(request: Request) -> Sequence[Service]:
    """The services of the process that handles `request`."""
    return cast(Sequence[Service], request.state.services)
