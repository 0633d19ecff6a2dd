"""HTTP responses for the page and its files."""

import gzip
import re
from collections.abc import Iterator

import httpx2
import pytest
from tests.support.fakes import StartProxy
from tests.support.metrics import samples, samples_when

from vibevoice_proxy.page.files import POLICY, STATIC, read_files

pytest_plugins = ("tests.support.proxy_fixtures",)

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
TYPES = {
    "main.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "sample.mp3": "audio/mpeg",
    "vendor/wavesurfer/LICENSE": "text/plain; charset=utf-8",
}


@pytest.fixture
def closed(start_proxy: StartProxy) -> Iterator[httpx2.Client]:
    """A proxy with an API key and closed listings."""
    url = start_proxy(api_keys="secret", open_listings=False)
    with httpx2.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        pytest.param(CHROMIUM, True, id="browser"),
        pytest.param("TEXT/HTML", True, id="capitals"),
        pytest.param("*/*", False, id="curl"),
        pytest.param("application/json", False, id="program"),
        pytest.param("text/html;q=0, application/json", False, id="no page wanted"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_browsers_get_the_page_and_programs_json(
    accept: str, is_page: bool, http: httpx2.Client
) -> None:
    """`/` depends on the Accept header, as Vary states."""
    answer = http.get("/", headers={"accept": accept})
    assert answer.status_code == 200
    assert "accept" in answer.headers["vary"]
    if is_page:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text.startswith("<!doctype html>")
    else:
        assert answer.json()["name"] == "vibevoice"


@pytest.mark.parametrize(("name", "media_type"), TYPES.items())
def test_files_have_their_type(name: str, media_type: str, http: httpx2.Client) -> None:
    """Browsers refuse scripts with a wrong content type."""
    answer = http.get(f"/page/{name}")
    assert answer.content == (STATIC / name).read_bytes()
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == POLICY


def test_no_key_is_wanted(closed: httpx2.Client) -> None:
    """The page and its files are open; the API and unknown files are not."""
    assert closed.get("/", headers={"accept": CHROMIUM}).status_code == 200
    assert closed.get("/page/main.js").status_code == 200
    assert closed.get("/").status_code == 401
    assert closed.get("/page/nothing.js").status_code == 401
    assert closed.post("/", headers={"accept": CHROMIUM}).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/page/index.html",
        "/page/nothing.js",
        "/page/",
        "/page/vendor",
        "/page/vendor/wavesurfer/wavesurfer.esm.d.ts",
        "/page/%2e%2e/files.py",
        "/page/..%2ffiles.py",
    ],
)
def test_nothing_else_is_served(path: str, http: httpx2.Client) -> None:
    """Other files and paths outside the folder are 404."""
    answer = http.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_text_is_compressed(http: httpx2.Client) -> None:
    """Text files use gzip if the client accepts it; audio does not."""
    with http.stream("GET", "/page/style.css", headers={"accept-encoding": "gzip"}) as answer:
        body = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == (STATIC / "style.css").read_bytes()
    plain = http.get("/page/style.css", headers={"accept-encoding": "br"})
    assert "content-encoding" not in plain.headers
    sample = http.get("/page/sample.mp3", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in sample.headers


def test_what_the_browser_has_is_not_sent_again(http: httpx2.Client) -> None:
    """Browsers revalidate with an entity tag."""
    first = http.get("/page/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = http.get("/page/main.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    changed = http.get("/page/main.js", headers={"if-none-match": 'W/"other"'})
    assert changed.status_code == 200


def test_head_is_answered(http: httpx2.Client) -> None:
    """HEAD has the headers of GET and no body."""
    answer = http.head("/", headers={"accept": CHROMIUM})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/html")


def test_the_policy_allows_nothing_unsafe() -> None:
    """The policy allows no inline code and no other origins."""
    assert "unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'; script-src 'self'; ")
    assert not re.search(r"https?:|\*", POLICY)


def test_files_are_counted_under_one_name(http: httpx2.Client) -> None:
    """All files share one route label."""
    key = ("vibevoice_requests_total", "GET", "/page/{file}", "200")
    before = samples(http).get(key, 0)
    http.get("/page/main.js")
    http.get("/page/style.css")
    samples_when(http, lambda found: found.get(key, 0) == before + 2)


def test_every_file_of_the_page_is_there() -> None:
    """Every file that is imported or linked exists."""
    files = read_files()
    for name, file in files.items():
        if not name.endswith((".js", ".html")) or "vendor" in name:
            continue
        text = file.body.decode()
        named = re.findall(r'(?:from |import\(|new URL\()"\./?([\w./-]+)"', text)
        named += [path.removeprefix("page/") for path in re.findall(r'"(page/[\w./-]+)"', text)]
        assert set(named) <= files.keys(), name
