"""Writes the software bills of materials of a release, one for each extra: `make sbom`.

    python -m scripts.sbom dist proxy batch live cpu

Installs the wheel in the folder `dist` with each extra in an empty environment, and writes the
packages found there to `dist/vibevoice-serving-VERSION-EXTRA.cdx.json` (CycloneDX 1.6, validated),
together with what the wheel bundles. Runs where cyclonedx-bom is installed; see the Makefile.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion  # pyright: ignore[reportMissingImports]
from cyclonedx.validation.json import (  # pyright: ignore[reportMissingImports]
    JsonStrictValidator,
)

from scripts.environments import ROOT, environment

BUNDLED = ROOT / "third_party.cdx.json"
UNDECLARED = {"espeakng-loader": "GPL-3.0-or-later"}
"""Licenses that a package's metadata omits: this package's library is eSpeak NG."""
ROOT_COMPONENT = "root-component"


def installed(python: Path) -> dict[str, Any]:
    """The bill of materials of an environment, without this distribution's own files."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), str(python)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    bom: dict[str, Any] = json.loads(found.stdout)
    for component in bom["components"]:
        if (license_id := UNDECLARED.get(component["name"])) and "licenses" not in component:
            component["licenses"] = [{"license": {"id": license_id}}]
    return bom


def add_bundled(bom: dict[str, Any], bundled: list[dict[str, Any]]) -> None:
    """Add the components that the wheel contains, as dependencies of the distribution."""
    references = [component["bom-ref"] for component in bundled]
    bom["components"] += bundled
    [root] = [entry for entry in bom["dependencies"] if entry["ref"] == ROOT_COMPONENT]
    root["dependsOn"] = sorted([*root.get("dependsOn", []), *references])
    bom["dependencies"] += [{"ref": reference} for reference in references]


def main() -> int:
    parser = argparse.ArgumentParser(description="Write a bill of materials for each extra.")
    parser.add_argument("dist", type=Path, help="folder with the wheel")
    parser.add_argument("extras", nargs="+", help="an extra, or several separated by commas")
    options = parser.parse_args()
    [wheel] = options.dist.absolute().glob("*.whl")
    bundled = json.loads(BUNDLED.read_text())["components"]
    for extras in options.extras:
        with tempfile.TemporaryDirectory() as folder:
            commands = environment(Path(folder) / "venv", wheel, extras)
            bom = installed(commands / "python")
        add_bundled(bom, bundled)
        text = json.dumps(bom, indent=2) + "\n"
        if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
            print(f"{extras}: {error}", file=sys.stderr)
            return 1
        main_component = bom["metadata"]["component"]
        stem = f"{main_component['name']}-{main_component['version']}"
        file = options.dist / f"{stem}-{extras.replace(',', '-')}.cdx.json"
        file.write_text(text)
        print(f"{file}: {len(bom['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
