"""A tiny server that returns a transcript for every upload and records the uploads."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.support.fakes import serve

SEGMENT = {"id": "seg_001", "start": 0, "end": 1.5, "speaker": "A", "text": "yes"}
DIARIZED = {"task": "transcribe", "duration": 1.5, "text": "yes", "segments": [SEGMENT]}


@dataclass
class Uploads:
    """The recorded uploads."""

    key: str | None = None
    """The only accepted key, if any."""
    text: str = "yes"
    """Text of the response."""
    names: list[str | None] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        """Return a transcript, or 401."""
        async with request.form() as form:
            file = form["file"]
            assert isinstance(file, UploadFile)
            if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
                return JSONResponse({"error": {"message": "Wrong key."}}, 401)
            self.urls.append(str(request.url))
            self.names.append(file.filename)
            self.contents.append(await file.read())
        answer = {**DIARIZED, "text": self.text, "segments": [{**SEGMENT, "text": self.text}]}
        return Response(json.dumps(answer), media_type="application/json")


@contextmanager
def transcribing(uploads: Uploads, path: str = "/v1/audio/transcriptions") -> Iterator[str]:
    """Run the server; yields its base URL without /v1."""
    with serve(Starlette(routes=[Route(path, uploads.answer, methods=["POST"])])) as url:
        yield url
