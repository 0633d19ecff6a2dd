#!/bin/sh
# Versions and hashes of what an image installs; what is locked already stays where it can.
# usage: docker/lock.sh proxy|speech|litellm [FILE]     with UV_ARGS=--upgrade: the newest
set -eu
part=$1 file=${2:-docker/requirements/$1.txt}
case $part in
proxy) set -- pyproject.toml --extra proxy ;;
speech) set -- pyproject.toml --extra proxy --extra tts ;;
litellm) set -- litellm/requirements.txt ;;
*)
    echo "lock.sh: unknown part $part" >&2
    exit 2
    ;;
esac
# shellcheck disable=SC2086
env -u UV_FIND_LINKS -u PIP_FIND_LINKS uv pip compile --quiet --universal --generate-hashes --no-annotate \
    --python-version 3.11 --only-binary :all: --custom-compile-command "docker/lock.sh $part" \
    ${UV_ARGS:-} --output-file "$file" "$@"
