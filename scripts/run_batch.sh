#!/usr/bin/env bash
# Process a file of requests without a server; see --help.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3
exec "$python" -m vibevoice_vllm.run_batch "$@"
