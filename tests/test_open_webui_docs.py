"""The page about Open WebUI, its compose file and its installation say the same."""

import re

from tests.open_webui import ROOT, documented_settings

PAGE = (ROOT / "docs" / "open-webui.md").read_text()
COMPOSE = (ROOT / "docker" / "docker-compose.with-openwebui.yml").read_text()
SETUP = (ROOT / "scripts" / "setup_open_webui.sh").read_text()


def test_one_version_is_meant() -> None:
    """What is installed and tried is what the page is about and what the compose file starts."""
    versions = [
        re.findall(r"^version=(.+)$", SETUP, re.M),
        re.findall(r"Open WebUI (\d[\d.]+\d)", PAGE),
        re.findall(r"OPEN_WEBUI_VERSION:-v(\d[\d.]+\d)", COMPOSE),
    ]
    assert all(versions)
    assert len({version for found in versions for version in found}) == 1


def test_compose_file_has_the_documented_settings() -> None:
    """With the proxy's name in place of this machine's address, and a key from outside."""
    documented = documented_settings("http://proxy:8899", "${OPEN_WEBUI_API_KEY:-none}")
    composed = dict(re.findall(r"^ +- (\w+)=(.*)$", COMPOSE, re.M))
    assert documented.items() <= composed.items()
