#!/usr/bin/env bash
# Makes .open-webui with the real Open WebUI, for tests/deploy/test_open_webui.py: its slim installation, which has no
# models of its own (700 MB). Safe to run again. OPEN_WEBUI_ENV names another folder. `make setup` comes first.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.12.4
venv=${OPEN_WEBUI_ENV:-.open-webui}

export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
[ -x "$venv/bin/python" ] || .venv/bin/uv venv --quiet --python '>=3.11,<3.13' "$venv"
uv() { .venv/bin/uv pip install --quiet --python "$venv/bin/python" --only-binary :all: "$@"; }
uv --no-deps "open-webui==$version"
# the wheel brings the list of what the slim installation needs
uv -r "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/requirements-slim.txt"

command -v chromium >/dev/null ||
    echo "setup_open_webui: no chromium on the path: the tests of the page will be skipped (Debian: apt-get install chromium)"
