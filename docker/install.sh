#!/bin/sh
# Installs the contents of the images; the Dockerfiles and tests/deploy/test_images.py run it from the root of the repository.
# usage: docker/install.sh engine|proxy|speech|litellm PYTHON
set -eu
part=$1 python=$2
uv() { command uv pip install --python "$python" "$@"; }

case $part in
engine)
    # vLLM is already installed: no package of its image may change, especially not torch.
    there=$(mktemp)
    "$python" >"$there" <<'END'
from importlib.metadata import distributions

print("\n".join(sorted({f"{found.name}=={found.version}" for found in distributions()})))
END
    uv --break-system-packages --constraint "$there" '.[engine]'
    rm "$there"
    "$python" -c 'import av, soxr, vibevoice_vllm.plugin'
    # This writes bytecode. Otherwise, each engine process would compile on every start, as it runs as another user on a read-only root.
    "$python" -c 'import vibevoice_vllm.engine, vllm.v1.engine.core, vllm.v1.executor.multiproc_executor' ||
        echo "install.sh: some modules cannot be imported without a GPU, so they are compiled at each start" >&2
    ;;
proxy | speech)
    uv --require-hashes --requirement "docker/requirements/$part.txt"
    uv --no-deps .
    # This also writes bytecode, as above.
    "$python" -c 'import vibevoice_proxy.app, vibevoice_light.worker, hibari'
    [ "$part" = proxy ] || "$python" -c 'import vibevoice_tts.engines.realtime, vibevoice_tts.engines.longform'
    "$python" -m vibevoice_light.fetch
    ;;
litellm)
    uv --compile-bytecode --require-hashes --requirement docker/requirements/litellm.txt
    ;;
*)
    echo "install.sh: unknown part $part" >&2
    exit 2
    ;;
esac
