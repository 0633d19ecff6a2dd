"""Import rules, and the maximum size of a module."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "vibevoice_commands": ROOT / "core",
    "vibevoice_core": ROOT / "core",
    "vibevoice_vllm": ROOT / "serving",
    "vibevoice_proxy": ROOT / "proxy",
    "vibevoice_tts": ROOT / "proxy",
    "vibevoice_light": ROOT / "proxy",
    "vibevoice_batch": ROOT / "batch",
    "vibevoice_live": ROOT / "batch",
}
"""Import packages and their folders."""
OURS = {*PACKAGES, "training", "scripts", "bench", "tests"}
ALLOWED = {
    "vibevoice_commands": {
        *("vibevoice_core", "vibevoice_vllm", "vibevoice_proxy", "vibevoice_light"),
        *("vibevoice_batch", "vibevoice_live"),
    },
    "vibevoice_core": set(),
    "vibevoice_vllm": {"vibevoice_core"},
    "vibevoice_proxy": {"vibevoice_core", "vibevoice_tts", "vibevoice_light"},
    "vibevoice_tts": {"vibevoice_core"},
    "vibevoice_light": {"vibevoice_core"},
    "vibevoice_batch": {"vibevoice_core"},
    "vibevoice_live": {"vibevoice_core", "vibevoice_batch"},
}
"""Our packages that a package may import besides itself."""
FORBIDDEN = {
    "vibevoice_commands": {"torch", "vllm", "transformers", "fastapi", "httpx2", "numpy", "av"},
    "vibevoice_core": {"torch", "vllm", "transformers", "fastapi", "starlette", "httpx2"},
    "vibevoice_vllm": {"fastapi", "httpx2"},
    "vibevoice_proxy": {"vllm", "torch", "transformers"},
    "vibevoice_tts": {"vllm", "fastapi"},
    "vibevoice_light": {"vllm", "torch", "transformers", "fastapi", "av"},
    "vibevoice_batch": {"vllm", "torch", "transformers", "fastapi", "av", "numpy"},
    "vibevoice_live": {"vllm", "torch", "transformers", "fastapi", "av"},
}
"""Libraries that a package must run without."""
WINGS = {"transcription", "speech", "realtime", "page"}
"""Parts of the proxy that must not import each other."""
COMPOSERS = {"vibevoice_proxy.app"}
"""Shared modules of the proxy that compose the wings."""
NEEDS_TORCH = ("vibevoice_vllm", "vibevoice_tts.engines")
MODEL_LIBRARIES = {
    *("torch", "transformers", "diffusers", "safetensors", "tokenizers", "huggingface_hub"),
    "hibari",
}
MAX_LINES = 300


@cache
def modules() -> Mapping[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for package, folder in PACKAGES.items():
        for file in (folder / package).rglob("*.py"):
            parts = file.relative_to(folder).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


@cache
def imports(module: str) -> frozenset[tuple[str, int]]:
    """(dotted name, line) of everything that a module imports, at any level."""
    return frozenset(_imports(ast.parse(modules()[module].read_text())))


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield (submodule if submodule in modules() else node.module), node.lineno


def offences(module: str, wrong: set[str], depth: int = 1) -> list[str]:
    """Imports of a module whose first `depth` names are in `wrong`."""
    return [
        f"{module}:{line} imports {name}"
        for name, line in sorted(imports(module))
        if ".".join(name.split(".")[:depth]) in wrong
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_do_not_import_what_is_not_theirs(package: str) -> None:
    """Engine and proxy only communicate over HTTP, and the core imports no other package."""
    wrong = FORBIDDEN[package] | (OURS - {package} - ALLOWED[package])
    own = [module for module in modules() if module.partition(".")[0] == package]
    assert own
    assert [found for module in own for found in offences(module, wrong)] == []


@pytest.mark.parametrize("wing", sorted(WINGS))
def test_wings_do_not_import_each_other(wing: str) -> None:
    """Wings only share the proxy's top-level modules."""
    wrong = {f"vibevoice_proxy.{other}" for other in WINGS - {wing}}
    own = [module for module in modules() if module.startswith(f"vibevoice_proxy.{wing}.")]
    assert own
    assert [found for module in own for found in offences(module, wrong, 2)] == []


def test_the_ground_floor_does_not_import_the_wings() -> None:
    """Only the application composes them."""
    wrong = {f"vibevoice_proxy.{wing}" for wing in WINGS}
    ground = [
        module
        for module in modules()
        if module.startswith("vibevoice_proxy.") and module.split(".")[1] not in WINGS
    ]
    found = {module for module in ground if offences(module, wrong, 2)}
    assert found == COMPOSERS


@pytest.mark.parametrize("package", ["vibevoice_tts", "vibevoice_light"])
def test_the_proxy_imports_the_public_face_of_its_workers(package: str) -> None:
    """Everything that it imports from them is in the package's `__all__`."""
    found = [
        f"{module}:{line} imports {name}"
        for module in modules()
        if module.startswith("vibevoice_proxy")
        for name, line in imports(module)
        if name.startswith(f"{package}.")
    ]
    assert found == []


def test_libraries_of_the_models_have_their_places() -> None:
    """Only the plugin and engines/ import torch and related libraries."""
    found = [
        offence
        for module in modules()
        if not module.startswith(NEEDS_TORCH)
        for offence in offences(module, MODEL_LIBRARIES)
    ]
    assert found == []


def test_only_the_audio_of_the_core_has_dependencies() -> None:
    """Every process can import the constants; only modules that handle audio have dependencies."""
    libraries = {"av", "numpy", "pydantic", "pydantic_settings"}
    core = [module for module in modules() if module.startswith("vibevoice_core")]
    audio = ("containers", "declared", "decode", "messages", "mixing", "placer", "resampling")
    assert {module for module in core if offences(module, libraries)} == {
        f"vibevoice_core.{module}" for module in audio
    }


def test_no_import_circles() -> None:
    """This includes imports inside functions."""
    graph = {
        module: {name for name, _ in imports(module) if name in modules() and name != module}
        for module in modules()
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in sorted(graph[module]):
                visit(name, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    "folder", ["core", "serving", "proxy", "batch", "litellm", "scripts", "training", "bench"]
)
def test_no_module_is_large(folder: str) -> None:
    """Every module can be read in one sitting."""
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in files}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


@pytest.mark.parametrize(
    ("module", "libraries"),
    [
        pytest.param("vibevoice_commands", {"pydantic", "numpy", "httpx2"}, id="commands"),
        pytest.param("vibevoice_proxy.__main__", {*MODEL_LIBRARIES, "onnxruntime"}, id="proxy"),
        pytest.param("vibevoice_light", {*MODEL_LIBRARIES, "onnxruntime", "av"}, id="light"),
        pytest.param("vibevoice_batch.cli", {"av", "numpy", "fastapi"}, id="batch"),
        pytest.param("vibevoice_live.cli", {"av", "numpy", "sounddevice", "fastapi"}, id="live"),
        pytest.param(
            "vibevoice_core.audio, vibevoice_core.prompt, vibevoice_core.penalties",
            {"av", "numpy"},
            id="core-constants",
        ),
    ],
)
def test_modules_load_without_the_libraries_that_they_do_not_need(
    module: str, libraries: set[str]
) -> None:
    """Their imports do not load those libraries either."""
    code = f"import sys, {module}; sys.exit(sorted({libraries} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_litellm_folder_is_not_a_package() -> None:
    """With an `__init__.py`, our folder would hide the installed LiteLLM."""
    assert not (ROOT / "litellm" / "__init__.py").exists()
