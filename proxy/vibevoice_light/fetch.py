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
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from vibevoice_core.distribution import add_version_option
from vibevoice_light.models import MOONSHINE_FOLDER, moonshine_files

PACKAGE = "moonshine-voice==0.0.73"
WHEEL_SHA256 = "6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db"
PLATFORM = "manylinux_2_34_x86_64"
INSIDE = "moonshine_voice/assets/tiny-en"
LICENSE = "moonshine_voice-0.0.73.dist-info/licenses/LICENSE"


class FetchError(Exception):
    """The files could not be fetched; the message is for the user."""


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
        _fetch(folder)
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{PACKAGE} could not be downloaded: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: Moonshine tiny-en")
    return 0


def _fetch(folder: Path) -> None:
    """Put the files into `folder`.

    Raises:
        FetchError: `folder` cannot be written, or pip failed.
        OSError: there is no writable temporary folder, or pip's Python does not start.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        if code := _download(Path(temporary)):
            raise FetchError(
                f"{PACKAGE} could not be downloaded (exit code of pip: {code}). If pip is missing, "
                "install it in this environment: uv pip install pip"
            )
        [wheel] = Path(temporary).glob("*.whl")
        with _writing(folder):
            _unpack(wheel, folder)
    if wrong := _wrong(folder):
        raise FetchError(f"{PACKAGE} has unexpected contents: {', '.join(wrong)}")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FetchError(
            f"{folder} cannot be written: {error.strerror}. Name another folder, and set "
            "VIBEVOICE_LIGHT_MODELS to it for the proxy."
        ) from error


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
