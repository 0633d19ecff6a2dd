#!/usr/bin/env bash
# Installs the real Open WebUI in .open-webui, for tests/deploy/test_open_webui.py: the slim variant without its own
# models (700 MB). Safe to run again. OPEN_WEBUI_ENV selects another folder. Run `make setup` first.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.12.4
venv=${OPEN_WEBUI_ENV:-.open-webui}

export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
[ -x "$venv/bin/python" ] || .venv/bin/uv venv --quiet --python '>=3.11,<3.13' "$venv"
uv() { .venv/bin/uv pip install --quiet --python "$venv/bin/python" --only-binary :all: "$@"; }
uv --no-deps "open-webui==$version"
# the wheel contains the requirements of the slim variant
uv -r "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/requirements-slim.txt"

command -v chromium >/dev/null ||
    echo "setup_open_webui: chromium not found, so the browser tests will be skipped (Debian: apt-get install chromium)"
