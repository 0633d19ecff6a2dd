"""Serves the page at `/` to browsers, and its files below `/page/`."""

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vibevoice_proxy.page.files import INDEX, read_files

PREFIX = "/page/"


@dataclass(frozen=True, slots=True)
class _Route:
    """The route label in the metrics."""

    path: str


class ServePage:
    """ASGI middleware: answers GET requests for the page and its files. They are static and need no
    API key. `/` returns the page only if the client asks for HTML, as browsers do; otherwise the
    application answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._files = read_files()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = _file_name(scope)
        file = self._files.get(name) if name else None
        if file is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = _Route("/" if name == INDEX else f"{PREFIX}{{file}}")
        headers = Headers(scope=scope)
        compressed = file.compressed if accepts(headers, "accept-encoding", "gzip") else None
        answer_headers = file.headers(compressed=compressed is not None)
        if file.etag in _etags(headers):
            response = Response(status_code=304, headers=answer_headers)
        else:
            body = file.body if compressed is None else compressed
            response = Response(body, headers=answer_headers)
        await response(scope, receive, send)


def _file_name(scope: Scope) -> str | None:
    """Name of the requested file, or None if the request is not for the page."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    path: str = scope["path"]
    if path == "/":
        return INDEX if accepts(Headers(scope=scope), "accept", "text/html") else None
    name = path.removeprefix(PREFIX)
    return name if name not in (path, INDEX) else None


def accepts(headers: Headers, name: str, value: str) -> bool:
    """Whether the header `name` lists `value` explicitly, with a weight above 0. Wildcards do not
    count: non-browser clients send `*/*`."""
    for item in ",".join(headers.getlist(name)).split(","):
        offered, *parameters = (part.strip().lower() for part in item.split(";"))
        if offered == value:
            return not any(parameter in ("q=0", "q=0.0") for parameter in parameters)
    return False


def _etags(headers: Headers) -> set[str]:
    """The entity tags that the client has cached."""
    return {tag.strip() for tag in headers.get("if-none-match", "").split(",")}
