"""Serves the page: `/` to browsers, and its files below `/page/`."""

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vibevoice_proxy.page.files import INDEX, read_files

PREFIX = "/page/"


@dataclass(frozen=True, slots=True)
class _Route:
    """What the metrics count the answers under."""

    path: str


class ServePage:
    """ASGI middleware: answers GET for the page and its files, which are the same for everybody and
    need no key. `/` is the page for those who ask for HTML, as browsers do; everybody else gets the
    application's own answer."""

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
    """The page's file that `scope` asks for, if it may be one."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    path: str = scope["path"]
    if path == "/":
        return INDEX if accepts(Headers(scope=scope), "accept", "text/html") else None
    name = path.removeprefix(PREFIX)
    return name if name not in (path, INDEX) else None


def accepts(headers: Headers, name: str, value: str) -> bool:
    """Whether the header `name` has `value` by itself, and not with a weight of 0. A wildcard does
    not count: it is what clients send that take anything."""
    for item in ",".join(headers.getlist(name)).split(","):
        offered, *parameters = (part.strip().lower() for part in item.split(";"))
        if offered == value:
            return not any(parameter in ("q=0", "q=0.0") for parameter in parameters)
    return False


def _etags(headers: Headers) -> set[str]:
    """The versions that the client has."""
    return {tag.strip() for tag in headers.get("if-none-match", "").split(",")}
