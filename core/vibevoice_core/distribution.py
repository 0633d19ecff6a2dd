"""The installed distribution, `vibevoice-serving`: its version and its extras."""

import argparse
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version

NAME = "vibevoice-serving"


def installed_version() -> str:
    """The version in pyproject.toml, as it was when this distribution was installed."""
    return version(NAME)


def pip_install(extra: str) -> str:
    """The command that installs an extra of this distribution."""
    return f"pip install '{NAME}[{extra}]'"


def add_version_option(parser: argparse.ArgumentParser) -> None:
    """Add `--version`, which prints the program's name and version and exits."""
    version_line = f"%(prog)s {installed_version()}"
    parser.add_argument("--version", action="version", version=version_line)


def missing_package(error: ModuleNotFoundError) -> str:
    """The missing third-party package; empty for a module of this distribution."""
    package = (error.name or "").partition(".")[0]
    return "" if package.startswith("vibevoice_") else package


@contextmanager
def needs_extra(command: str, extra: str) -> Generator[None]:
    """If the block imports a package that is not installed, exit with a message that names it and
    the extra that contains it; `--version` alone prints the version anyway.

    Raises:
        SystemExit: a package is missing.
        ModuleNotFoundError: a module of this distribution is missing, which is a bug.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if package := missing_package(error):
            if sys.argv[1:] == ["--version"]:
                print(f"{command} {installed_version()}")
                sys.exit()
            sys.exit(f"{command} needs the Python package {package}: {pip_install(extra)}")
        raise
