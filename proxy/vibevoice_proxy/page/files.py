"""The files of the page, read once, with the headers that each is served with."""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

STATIC = Path(__file__).parent / "static"
INDEX = "index.html"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
}
"""By suffix; the file without one is a license. Anything else in the folder is not served."""
_COMPRESSED = (".css", ".html", ".js", ".svg", "")
_WAVEFORM_STYLE = "sha256-XGW/cX2BkTPWNNT3NdyASrPEWZfPnKdPJaJ2aN7R+v8="
"""The style sheet that wavesurfer.js 8.0.1 writes into its shadow root for a waveform of the height
in waveform.js. Another version or height has another hash; the browser tells it."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' '{_WAVEFORM_STYLE}'",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""https://www.w3.org/TR/CSP3/: nothing from elsewhere, nothing inline, no frame around it."""
HEADERS = {
    # The browser asks each time and gets 304; a new release is seen at once.
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
    "referrer-policy": "no-referrer",
    "vary": "accept, accept-encoding",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file, ready to send."""

    body: bytes
    compressed: bytes | None
    """The body as gzip; None where that saves nothing."""
    media_type: str
    etag: str

    def headers(self, *, compressed: bool) -> dict[str, str]:
        """The headers of an answer with or without gzip."""
        encoding = {"content-encoding": "gzip"} if compressed else {}
        return {**HEADERS, "content-type": self.media_type, "etag": self.etag, **encoding}


def read_files(folder: Path = STATIC) -> Mapping[str, PageFile]:
    """Path below the folder, with slashes → file."""
    return dict(_read(folder))


def _read(folder: Path) -> Iterator[tuple[str, PageFile]]:
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or (media_type := MEDIA_TYPES.get(file.suffix)) is None:
            continue
        body = file.read_bytes()
        compressed = gzip.compress(body, mtime=0) if file.suffix in _COMPRESSED else None
        # Weak: the same for both encodings.
        etag = f'W/"{sha256(body).hexdigest()[:32]}"'
        name = file.relative_to(folder).as_posix()
        yield name, PageFile(body, compressed, media_type, etag)
