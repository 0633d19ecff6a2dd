"""CI workflow files: valid, with minimal permissions and pinned actions."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts.stack import ROOT

BIN = Path(sys.executable).parent
FILES = sorted((ROOT / ".github" / "workflows").iterdir())
RELEASE, IMAGES, CI, DOCS = (
    yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    for name in ("release", "images", "ci", "docs")
)
ON = True
"""YAML 1.1 reads the key `on` as true."""
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def scripts() -> Iterator[Any]:
    """The shell scripts of all steps."""
    for file in FILES:
        for name, job in yaml.safe_load(file.read_text())["jobs"].items():
            for step in job.get("steps", []):
                if "run" in step:
                    yield pytest.param(step["run"], id=f"{file.stem}-{name}-{step.get('name')}")


def test_workflows_fit_the_schema() -> None:
    """Every key is defined by the workflow schema."""
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *FILES]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_actions_are_pinned(file: Path) -> None:
    """Actions are pinned by commit hash, with the tag in a comment, because tags can be moved."""
    used = re.findall(r"uses: (?!\./)(.*)", file.read_text())
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", one)] == []


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_jobs_may_do_little(file: Path) -> None:
    """Jobs may read the sources. Only jobs that push to the registry may write to it, and only
    jobs that publish, and run no code of the project, may sign in elsewhere."""
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        permissions = job.get("permissions", {})
        pushes = "secrets.GITHUB_TOKEN" in str(job) or "/images.yml" in job.get("uses", "")
        assert permissions.get("packages") == ("write" if pushes else None)
        assert permissions.get("contents") in ("read", None)
        if permissions.keys() - {"packages", "contents"}:
            assert permissions.keys() <= {"id-token", "pages"} and job["environment"]
            assert not any("run" in step or "checkout" in step["uses"] for step in job["steps"])
        for step in job.get("steps", []):
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("script", list(scripts()))
def test_scripts_are_sound(script: str) -> None:
    """ShellCheck reports nothing, and untrusted text such as a tag name is not interpolated."""
    assert "${{" not in script
    found = subprocess.run(
        [BIN / "shellcheck", "--shell=bash", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def test_only_the_job_that_publishes_may_sign_in_to_pypi() -> None:
    """It builds nothing, and uploads what the tests passed with, for every supported Python."""
    build, publish = (RELEASE["jobs"][name] for name in ("build", "publish"))
    assert publish["permissions"] == {"id-token": "write"} and publish["environment"] == "pypi"
    assert "build" in publish["needs"] and not any("run" in step for step in publish["steps"])
    assert "permissions" not in build
    [tests] = [step for step in build["steps"] if step.get("run") == "make release"]
    assert tests["env"]["RELEASE_PYTHONS"] == "all"
    recipe = re.search(r"^release:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe and "RELEASE_DIST=dist " in recipe[1]
    [versions] = [
        step["with"]["python-version"]
        for step in build["steps"]
        if "setup-python" in step.get("uses", "")
    ]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = {c.rpartition(" ")[2] for c in classifiers if ":: Python :: 3." in c}
    assert set(versions.split()) == supported


def test_a_release_needs_ci_of_the_same_commit() -> None:
    """CI of the tag runs once before anything is published, and nothing starts if the tag is
    wrong."""
    jobs = RELEASE["jobs"]
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert jobs["images"]["uses"] == "./.github/workflows/images.yml"
    for name in ("publish", "images"):
        assert "ci" in jobs[name]["needs"]
    assert jobs["ci"]["needs"] == jobs["build"]["needs"] == "tag"
    assert "workflow_call" in CI[ON] and CI[ON]["push"] == {"branches": ["main"]}
    assert IMAGES[ON].keys() == {"workflow_call"}
    assert jobs["images"]["with"].keys() == IMAGES[ON]["workflow_call"]["inputs"].keys()
    granted = jobs["images"]["permissions"]
    assert all(job["permissions"].items() <= granted.items() for job in IMAGES["jobs"].values())
    groups = {workflow["concurrency"]["group"].lower() for workflow in (CI, RELEASE)}
    assert len(groups) == 2 and not any("github.workflow" in group for group in groups)


def test_a_rebuild_of_images_publishes_no_package() -> None:
    """A manual run also waits for CI, but does not upload the package again."""
    assert "workflow_dispatch" in RELEASE[ON]
    assert RELEASE["jobs"]["build"]["if"] == "github.event_name == 'push'"
    assert "build" in RELEASE["jobs"]["publish"]["needs"], "it is skipped with it"
    assert "build" not in RELEASE["jobs"]["images"]["needs"]


def test_the_docs_site_is_built_as_by_make_docs(tmp_path: Path) -> None:
    """Runs the command that builds it, with the workflow's variables filled in."""
    [step] = [step for step in DOCS["jobs"]["build"]["steps"] if "run" in step]
    values = {
        "github.server_url": "https://forge.example",
        "github.repository": "some-body/speech",
        "github.repository_owner": "some-body",
        "github.event.repository.name": "speech",
    }
    variables = {
        name: re.sub(r"\$\{\{ (.*?) \}\}", lambda found: values[found[1]], value)
        for name, value in step["env"].items()
    }
    build = step["run"].splitlines()[-1]
    assert build in (ROOT / "Makefile").read_text()
    command = [BIN / "python", "-m", *build.split(), "--site-dir", tmp_path]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=True)
    [upload] = [one for one in DOCS["jobs"]["build"]["steps"] if "pages" in one.get("uses", "")]
    assert upload["with"]["path"] == "site"
    text = (tmp_path / "guides" / "docker" / "index.html").read_text()
    assert 'rel="canonical" href="https://some-body.github.io/speech/guides/docker/"' in text
    assert 'href="https://forge.example/some-body/speech/blob/main/.github/workflows/' in text


def test_every_image_is_built() -> None:
    """The workflow builds every image of the compose files, from existing Dockerfiles and stages,
    for both architectures, with labels, SBOM and provenance, and with refreshed base images."""
    build = IMAGES["jobs"]["build"]
    named = {
        name
        for file in (ROOT / "docker").glob("*.yml")
        for name in re.findall(r"image: vibevoice-(\w+):", file.read_text())
    }
    images = build["strategy"]["matrix"]["image"]
    assert {image["name"] for image in images} == named
    for image in images:
        text = (ROOT / image["file"]).read_text()
        assert not image["target"] or re.search(rf"^FROM .* AS {image['target']}$", text, re.M)
    machines = build["strategy"]["matrix"]["machine"]
    assert {machine["architecture"] for machine in machines} == {"amd64", "arm64"}
    [step] = [step for step in build["steps"] if "build-push-action" in step.get("uses", "")]
    assert step["with"]["pull"] and step["with"]["sbom"] and step["with"]["labels"]
    assert step["with"]["provenance"] == "mode=max"
    assert IMAGES["jobs"]["publish"]["strategy"]["matrix"]["image"] == images


@pytest.mark.parametrize(
    ("ref", "code"),
    [(f"refs/tags/v{VERSION}", 0), ("refs/tags/v99.0.0", 1), (f"refs/heads/v{VERSION}", 1)],
)
def test_a_tag_must_be_the_projects_version(ref: str, code: int, tmp_path: Path) -> None:
    """Runs the step that compares them, as the workflow would."""
    [step] = [step for step in RELEASE["jobs"]["tag"]["steps"] if "run" in step]
    output = tmp_path / "output"
    environ = {**os.environ, "OWNER": "Some-Body", "REF": ref, "GITHUB_OUTPUT": str(output)}
    command = ["bash", "-e", "-o", "pipefail", "-c", step["run"]]
    found = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert found.returncode == code
    if code:
        assert f"this is {ref}, pyproject.toml says {VERSION}" in found.stdout
    else:
        assert output.read_text() == f"version={VERSION}\nregistry=ghcr.io/some-body\n"
