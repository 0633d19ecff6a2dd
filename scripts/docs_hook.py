"""What the docs site needs beyond MkDocs: pages from the repository's root, and links to its files.

The pages are written for the forge, where a relative link may lead anywhere in the repository. On
the site, links between pages stay as they are, and links to other files lead to the repository.
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
"""Files in the root that are pages of the site, too."""

_LINK = re.compile(r"(?P<label>\[[^\]\n]*\])\((?P<path>[^)\s:#]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root."""
    for name, uri in FROM_ROOT.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """The text of a page with its links as the site needs them."""
    return rewrite(markdown, page.file.src_uri, config.extra["repository"])


def rewrite(markdown: str, uri: str, repository: str) -> str:
    """`markdown` of the page `uri`, with links that leave docs/ rewritten.

    Args:
        repository: URL of the repository on its forge; if empty, such links become their labels.

    Raises:
        FileNotFoundError: A link leads to a file that does not exist.
    """
    source = {page: name for name, page in FROM_ROOT.items()}.get(uri, f"docs/{uri}")

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
