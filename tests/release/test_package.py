"""Contents and metadata of the wheel and the sdist."""

import re
import subprocess
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import version
from pathlib import Path

import pytest
from scripts.environments import uv
from scripts.stack import ROOT
from tests.test_architecture import PACKAGES

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, BUILD = PYPROJECT["project"], PYPROJECT["build-system"]
VERSION = PROJECT["version"]
TWINE = "twine==7.0.0"
MAX_BYTES = 20_000_000
"""The speaker model has 14.5 MB. PyPI accepts 100 MB."""


def tracked(*folders: str) -> set[str]:
    """The files of the repository in these folders."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as files:
        text = files.read(f"vibevoice_serving-{VERSION}.dist-info/METADATA").decode()
    return HeaderParser().parsestr(text)


def test_the_wheel_contains_every_file_of_the_packages(wheel: Path) -> None:
    """The wheel also contains the chat template, and nothing else."""
    expected = {"vibevoice_vllm/vibevoice_asr.jinja"}
    for package, folder in PACKAGES.items():
        files = tracked(str((folder / package).relative_to(ROOT)))
        expected |= {file.removeprefix(f"{folder.name}/") for file in files}
    with zipfile.ZipFile(wheel) as files:
        names = {name for name in files.namelist() if ".dist-info/" not in name}
    assert names == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert wheel.stat().st_size < MAX_BYTES


def test_the_wheel_is_the_same_from_the_sdist_and_from_the_repository(
    dist: Path, wheel: Path, tmp_path: Path
) -> None:
    """The wheels are identical byte for byte, without build times."""
    uv("build", "--quiet", "--wheel", "--out-dir", tmp_path)
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_oldest_allowed_hatchling_builds_the_same_files(wheel: Path, tmp_path: Path) -> None:
    """Older versions fail, or leave out the bill of materials without a message."""
    [required] = BUILD["requires"]
    constraint = tmp_path / "constraint.txt"
    constraint.write_text(required.replace(">=", "=="))
    uv("build", "--quiet", "--wheel", "--build-constraints", constraint, "--out-dir", tmp_path)
    with zipfile.ZipFile(wheel) as new, zipfile.ZipFile(tmp_path / wheel.name) as old:
        assert set(old.namelist()) == set(new.namelist())
        assert f"vibevoice_serving-{VERSION}.dist-info/sboms/third_party.cdx.json" in old.namelist()


def test_the_sdist_contains_what_the_wheel_is_built_from(dist: Path) -> None:
    """Tests, samples, and the embedded checkpoint stay in the repository."""
    [file] = dist.glob("*.tar.gz")
    with tarfile.open(file) as files:
        names = {name.partition("/")[2].partition("/")[0] for name in files.getnames()}
    assert names - {"PKG-INFO", ".gitignore"} == {
        *("batch", "chat_templates", "core", "docs", "proxy", "serving", "pyproject.toml"),
        *("CHANGELOG.md", "LICENSE", "README.md", "THIRD_PARTY_NOTICES.md"),
        "third_party.cdx.json",
    }
    assert file.stat().st_size < MAX_BYTES


def test_an_index_accepts_both(dist: Path) -> None:
    """twine reports no warnings."""
    files = [file for file in dist.iterdir() if file.suffix in (".whl", ".gz")]
    assert len(files) == 2
    uv("tool", "run", "--quiet", TWINE, "check", "--strict", *files)


def test_metadata(metadata: Message) -> None:
    """The license expression has the licenses of every bundled file, whose texts are included."""
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text()
    assert metadata["License-Expression"] == "MIT AND Apache-2.0 AND BSD-3-Clause AND CC-BY-SA-3.0"
    bundled = notices.partition("## Only in the repository")[0]
    for name in metadata["License-Expression"].split(" AND "):
        assert re.sub(r"CC-(.*)-(3)", r"CC \1 \2", name) in bundled
    texts = metadata.get_all("License-File", [])
    assert {"LICENSE", "THIRD_PARTY_NOTICES.md"} < set(texts)
    for file in tracked("core", "serving", "proxy", "batch"):
        if "LICENSE" in file or "NOTICE" in file:
            assert file in texts
    assert "](" not in metadata.get_payload(), "an index cannot resolve relative links"


def test_versions_of_python_are_the_same_everywhere(metadata: Message) -> None:
    """Metadata, setup, and documentation list the same versions of Python."""
    named = [
        found[1]
        for text in metadata.get_all("Classifier", [])
        if (found := re.fullmatch(r"Programming Language :: Python :: 3\.(\d+)", text))
    ]
    assert metadata["Requires-Python"] == f">=3.{named[0]}"
    assert f"Python 3.{named[0]} to 3.{named[-1]}" in (ROOT / "docs" / "install.md").read_text()
    setup = (ROOT / "scripts" / "setup.sh").read_text()
    assert f"(3, {named[0]}) <= sys.version_info < (3, {int(named[-1]) + 1})" in setup


def test_the_changelog_starts_with_this_version() -> None:
    """The current version follows the unreleased changes, and has a date."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.*)$", changelog, re.M)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(VERSION)} - \d{{4}}-\d\d-\d\d", headings[1])


def test_the_version_is_the_same_everywhere() -> None:
    """The version is the same in pyproject.toml, the Compose files, and the wheel's name in the
    documentation. (tests/deploy compares that of the Helm chart.)"""
    compose = "".join(file.read_text() for file in (ROOT / "docker").glob("*.yml"))
    assert set(re.findall(r"VIBEVOICE_VERSION:-([^}]+)\}", compose)) == {VERSION}
    install = (ROOT / "docs" / "install.md").read_text()
    assert set(re.findall(r"vibevoice_serving-(.+?)-py3", install)) == {VERSION}


def test_the_installed_version_is_that_of_the_project() -> None:
    """`--version`, `GET /`, and the tests read it from the installed distribution."""
    assert version("vibevoice-serving") == VERSION
