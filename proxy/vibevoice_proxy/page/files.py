"""Reads the page's files and defines their response headers."""

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
"""By suffix. License files have none. Files with other suffixes are not served."""
_COMPRESSED = (".css", ".html", ".js", ".svg", "")
_WAVEFORM_STYLE = "sha256-XGW/cX2BkTPWNNT3NdyASrPEWZfPnKdPJaJ2aN7R+v8="
"""Hash of the style sheet that wavesurfer.js 8.0.1 adds to its shadow root, for the height in
waveform.js. If it changes, the browser's console shows the new hash."""
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
"""No other origins, no inline code, no framing: https://www.w3.org/TR/CSP3/"""
HEADERS = {
    # Browsers revalidate on each visit, so a new release is used at once.
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
    """A file that belongs to the page."""

    body: bytes
    compressed: bytes | None
    """The body as gzip; None for formats that are already compressed."""
    media_type: str
    etag: str

    def headers(self, *, compressed: bool) -> dict[str, str]:
        """Response headers, with or without gzip."""
        encoding = {"content-encoding": "gzip"} if compressed else {}
        return {**HEADERS, "content-type": self.media_type, "etag": self.etag, **encoding}


def read_files(folder: Path = STATIC) -> Mapping[str, PageFile]:
    """Read the served files, by their path relative to `folder`."""
    return dict(_read(folder))


def _read(folder: Path) -> Iterator[tuple[str, PageFile]]:
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or (media_type := MEDIA_TYPES.get(file.suffix)) is None:
            continue
        body = file.read_bytes()
        compressed = gzip.compress(body, mtime=0) if file.suffix in _COMPRESSED else None
        # A weak tag, because it is the same for both encodings.
        etag = f'W/"{sha256(body).hexdigest()[:32]}"'
        name = file.relative_to(folder).as_posix()
        yield name, PageFile(body, compressed, media_type, etag)
