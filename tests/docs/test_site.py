"""The docs site builds without warnings, and its links work."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from scripts.docs_hook import FROM_ROOT, indent_lists, rewrite
from scripts.stack import ROOT
from tests.support.snippets import OTHER_PAGES, pages

CODE = (
    *("batch", "bench", "core", "deploy", "docker", "litellm", "proxy", "scripts", "serving"),
    *("tests", "training"),
)
SUFFIXES = {".py", ".sh", ".yml", ".yaml", ".js", ".conf", ".env", ".txt", ".json"}
_LINK = re.compile(r"!?\[(?:[^\]\n]|\n(?!\n))*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *)```.*?^\1```$", re.M | re.S)
_LOADING = {
    ("script", "src"),
    ("img", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("link", "href"),
}


class Page(HTMLParser):
    """Collects the resources that a page of the site loads."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        is_reference = tag == "link" and names.get("rel") in ("canonical", "next", "prev")
        self.loaded += [
            value for name, value in attrs if value and (tag, name) in _LOADING and not is_reference
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    """Fonts, scripts, styles, and pictures are part of the site."""
    files = list(site.rglob("*.html"))
    assert len(files) > 40
    for file in files:
        page = Page()
        page.feed(file.read_text())
        assert page.loaded
        assert not [url for url in page.loaded if urlsplit(url).netloc], file


def test_every_page_is_in_it(site: Path) -> None:
    """This includes the pages in the repository's root."""
    for page in [*pages(), *(f"docs/{uri}" for uri in FROM_ROOT.values())]:
        if page not in OTHER_PAGES:
            name = page.removeprefix("docs/").removesuffix(".md").removesuffix("index")
            assert (site / name / "index.html").is_file(), page


def test_nested_lists_of_the_root_are_indented() -> None:
    """With four spaces, which MkDocs needs, instead of two."""
    assert indent_lists("- a\n  - b\n    c\n- d\n") == "- a\n    - b\n    c\n- d\n"


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as repository hosts generate them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere_on_the_forge(page: str) -> None:
    """Linked files and headings exist, and external URLs are complete."""
    for link in _LINK.findall(_FENCE.sub("", (ROOT / page).read_text())):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme in ("http", "https") and "." in parts.netloc, link
            continue
        target = (ROOT / page).parent / parts.path if parts.path else ROOT / page
        assert target.resolve().is_relative_to(ROOT) and target.exists(), link
        if parts.fragment:
            assert parts.fragment in anchors(target.read_text()), link


def test_pages_that_the_code_names_exist() -> None:
    """Pages named in docstrings, messages, comments, and configuration exist."""
    named: dict[str, Path] = {}
    for folder in CODE:
        for file in _files(ROOT / folder):
            if file.suffix in SUFFIXES:
                text = file.read_text()
                named |= {page: file for page in re.findall(r"\bdocs/[\w/-]+\.md\b", text)}
    named |= {page: ROOT for page in re.findall(r"\bdocs/[\w/-]+\.md\b", _root_files())}
    assert len(named) > 20
    # a page in onnxruntime's repository
    assert [page for page in named if not (ROOT / page).exists()] == ["docs/Privacy.md"]


def _files(folder: Path) -> Iterator[Path]:
    """All files below `folder` except for npm packages, which another process may be installing."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted({*folders} - {"node_modules"})
        yield from (Path(parent, name) for name in sorted(names))


def _root_files() -> str:
    names = (".env.example", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")
    return "".join((ROOT / name).read_text() for name in names)


@pytest.mark.parametrize("page", pages())
def test_lists_are_read_the_same_everywhere(page: str) -> None:
    """MkDocs requires an empty line before a list, and four spaces for content inside an item."""
    if page in OTHER_PAGES and page not in ("CONTRIBUTING.md", "SECURITY.md"):
        return
    before = ""
    for line in _FENCE.sub("", (ROOT / page).read_text()).splitlines():
        if item := re.match(r"( *)(?:[-*]|\d+\.) ", line):
            assert len(item[1]) % 4 == 0, line
            is_start = before and not re.match(r" *(?:[-*]|\d+\.) |  ", before)
            assert not is_start, line
        before = line.rstrip()


@pytest.mark.parametrize(
    ("uri", "text", "expected"),
    [
        pytest.param(
            "guides/gpu.md",
            "[x](../results/gpu.md#measured)",
            "[x](../results/gpu.md#measured)",
            id="page",
        ),
        pytest.param(
            "guides/docker.md",
            "[x](../../deploy/nginx.conf)",
            "[x](https://forge/p/blob/main/deploy/nginx.conf)",
            id="file",
        ),
        pytest.param(
            "guides/docker.md", "[x](../../SECURITY.md)", "[x](../security.md)", id="root"
        ),
        pytest.param(
            "contributing.md",
            "[x](docs/guides/gpu.md#defaults)",
            "[x](guides/gpu.md#defaults)",
            id="from the root",
        ),
        pytest.param(
            "guides/gpu.md",
            "[x\ny](../../LICENSE)",
            "[x\ny](https://forge/p/blob/main/LICENSE)",
            id="line",
        ),
        pytest.param("guides/gpu.md", "[x](#defaults)", "[x](#defaults)", id="same page"),
        pytest.param("guides/gpu.md", "[x](https://a.b)", "[x](https://a.b)", id="elsewhere"),
    ],
)
def test_links_are_rewritten(uri: str, text: str, expected: str) -> None:
    """Links between pages are unchanged; other links lead to the repository."""
    assert rewrite(text, uri, "https://forge/p/") == expected


def test_without_a_repository_links_are_plain() -> None:
    """Links become plain text if the repository's URL is not set."""
    assert rewrite("[x](../../Makefile)", "guides/gpu.md", "") == "x"
