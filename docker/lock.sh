#!/bin/sh
# Writes versions and hashes of an image's packages; locked versions are kept if possible.
# usage: docker/lock.sh proxy|speech|litellm [FILE]     UV_ARGS=--upgrade: use the newest versions
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
