"""Extends MkDocs for the docs site: adds pages from the repository's root, and rewrites links to
its files.

Pages are written for the repository host, where a relative link may lead anywhere in the
repository. On the site, links between pages are unchanged, and links to other files lead to the
repository.
"""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
FROM_ROOT = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files in the root that are also pages of the site."""
ROOT_PAGES = {page: name for name, page in FROM_ROOT.items()}

_NESTED = re.compile(r"^  (?=- )", re.M)
_LINK = re.compile(
    r"(?P<label>\[(?:[^\]\n]|\n(?!\n))*\])\((?P<path>[^)\s:#]+)(?P<anchor>#[^)\s]*)?\)"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root."""
    for name, uri in FROM_ROOT.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """The text of a page, with links and nested lists adapted for the site."""
    uri = page.file.src_uri
    text = indent_lists(markdown) if uri in ROOT_PAGES else markdown
    return rewrite(text, uri, config.extra["repository"])


def indent_lists(markdown: str) -> str:
    """Indent nested lists by four spaces, as Python-Markdown requires. Forges expect two."""
    return _NESTED.sub("    ", markdown)


def rewrite(markdown: str, uri: str, repository: str) -> str:
    """`markdown` of the page `uri`, with links that leave docs/ rewritten.

    Args:
        repository: URL of the repository on its forge; if empty, such links become their labels.

    Raises:
        FileNotFoundError: A link leads to a file that does not exist.
    """
    source = ROOT_PAGES.get(uri, f"docs/{uri}")

    def replaced(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["path"]))
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{source} links to {path}, which does not exist")
        page = FROM_ROOT.get(path, path.removeprefix("docs/"))
        anchor = link["anchor"] or ""
        if path in FROM_ROOT or path.startswith("docs/"):
            relative = os.path.relpath(page, posixpath.dirname(uri) or ".")
            return f"{link['label']}({relative}{anchor})"
        if repository:
            return f"{link['label']}({repository.rstrip('/')}/blob/main/{path}{anchor})"
        return link["label"][1:-1]

    return _LINK.sub(replaced, markdown)
