#!/usr/bin/env bash
# Start the ASR engine and wait until it is ready; see --help.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3
exec "$python" -m vibevoice_vllm.launch "$@"
