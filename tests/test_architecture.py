"""Which package may import what."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "vibevoice_vllm": ROOT / "serving" / "vibevoice_vllm",
    "vibevoice_proxy": ROOT / "proxy" / "vibevoice_proxy",
    "vibevoice_tts": ROOT / "proxy" / "vibevoice_tts",
    "vibevoice_batch": ROOT / "batch" / "vibevoice_batch",
}
FORBIDDEN = {
    "vibevoice_vllm": {"vibevoice_proxy", "fastapi", "httpx2"},
    "vibevoice_proxy": {"vibevoice_vllm", "vllm", "torch", "transformers"},
    "vibevoice_tts": {"vibevoice_proxy", "vibevoice_vllm", "vllm", "fastapi", "training"},
    "vibevoice_batch": {
        *("vibevoice_proxy", "vibevoice_vllm", "vibevoice_tts"),
        *("vllm", "torch", "transformers", "fastapi", "av", "numpy"),
    },
}


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """(top-level module, line) of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0], node.lineno


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_do_not_import_what_is_not_theirs(package: str) -> None:
    """The proxy runs without torch, and engine and proxy meet over HTTP only."""
    files = list(PACKAGES[package].glob("*.py"))
    assert files
    found = [
        f"{file.name}:{line} imports {module}"
        for file in files
        for module, line in imports(file)
        if module in FORBIDDEN[package]
    ]
    assert found == []


def test_proxy_starts_without_the_libraries_of_the_models() -> None:
    """What the proxy takes of vibevoice_tts loads neither torch nor transformers."""
    code = (
        "import sys, vibevoice_proxy.__main__; "
        "sys.exit(sorted({'torch', 'transformers', 'diffusers'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_litellm_folder_is_no_package() -> None:
    """With an `__init__.py` our folder would hide the installed LiteLLM."""
    assert not (ROOT / "litellm" / "__init__.py").exists()
