"""What the process holds open for its requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import time
from typing import cast

from anyio import CapacityLimiter
from starlette.requests import Request

from vibevoice_proxy.settings import Settings
from vibevoice_proxy.upstream import Upstream, open_upstream


@dataclass(frozen=True, slots=True)
class Resources:
    """Made once, at the start of the process, and handed to every request."""

    settings: Settings
    upstream: Upstream
    decoders: CapacityLimiter
    """Bounds the threads that decode uploads."""
    started: int
    """Unix time in seconds."""


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """The resources, closed at the end of the process."""
    async with open_upstream(settings) as upstream:
        decoders = CapacityLimiter(settings.ffmpeg_max_concurrency)
        yield Resources(settings, upstream, decoders, int(time()))


def resources_of(request: Request) -> Resources:
    """The resources of the process that serves `request`."""
    return cast(Resources, request.state.resources)
