#!/bin/sh
# What the images install; the Dockerfiles and tests/deploy/test_images.py run it from the repository's root.
# usage: docker/install.sh engine|proxy|speech|litellm PYTHON
set -eu
part=$1 python=$2
# Compiled here: the root of a container is read-only, so each start would compile again what it imports.
uv() { command uv pip install --compile-bytecode --python "$python" "$@"; }

case $part in
engine)
    # vLLM is there: nothing that its image brought may change, torch least of all.
    there=$(mktemp)
    "$python" >"$there" <<'END'
from importlib.metadata import distributions

print("\n".join(sorted({f"{found.name}=={found.version}" for found in distributions()})))
END
    uv --break-system-packages --constraint "$there" '.[engine]'
    rm "$there"
    "$python" -c 'import av, soxr, vibevoice_vllm.plugin'
    ;;
proxy | speech)
    uv --require-hashes --requirement "docker/requirements/$part.txt"
    uv --no-deps .
    "$python" -c 'import vibevoice_proxy.app'
    "$python" -m vibevoice_light.fetch
    ;;
litellm)
    uv --require-hashes --requirement docker/requirements/litellm.txt
    ;;
*)
    echo "install.sh: unknown part $part" >&2
    exit 2
    ;;
esac
