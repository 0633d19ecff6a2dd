#!/usr/bin/env bash
# Builds the images, starts them with the embedded checkpoint, tests health, listings, metrics, speech, and
# transcription, prints the results, and cleans up. Exits with 0 if all checks passed.
#
# usage: docker/run-test.sh [--cpu | --no-gpu]     --cpu: engine and proxy without a GPU; --no-gpu: only the proxy
#
# Needs docker with compose 2.24 or newer, curl, and, without an option, a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

engine=yes start_seconds=300
export API_PORT=${API_PORT:-18999} MODEL_DIR=$PWD/models/tiny-asr TTS_MODEL_TYPE=espeak VIBEVOICE_LIGHT=on
case ${1:-} in
'') file=docker-compose.yml ASR_DTYPE=float16 start_seconds=1800 ;;
--cpu) file=docker-compose.cpu.yml ASR_DTYPE=float32 ;;
--no-gpu) file=docker-compose.proxy-only.yml engine=no ASR_API=off ;;
*)
    sed -n 's/^# usage: //p' "$0" >&2
    exit 2
    ;;
esac
export ASR_DTYPE ASR_API
compose=(docker compose -p vibevoice-test -f "docker/$file")
url=http://127.0.0.1:$API_PORT
answers=$(mktemp -d)
stop() {
    "${compose[@]}" down --volumes --timeout 45 >"$answers/down" 2>&1 || cat "$answers/down"
    rm -rf "$answers"
}
trap stop EXIT

passed=0 failed=0
check() { # name, command…
    local name=$1
    shift
    if "$@" >"$answers/output" 2>&1; then
        passed=$((passed + 1))
        echo "ok    $name"
    else
        failed=$((failed + 1))
        echo "FAIL  $name"
        sed 's/^/      /' "$answers/output"
    fi
}
get() { curl -sS --fail-with-body --max-time 120 "$@"; }
contains() { # text, command…
    local text=$1
    shift
    # Not a pipe: grep exits at the first match, and the command would then fail to write.
    "$@" >"$answers/answer" && grep -q -- "$text" "$answers/answer" && return
    cat "$answers/answer"
    return 1
}
status() { # expected status, curl's arguments…
    local expected=$1 got
    shift
    got=$(curl -sS --max-time 120 -o /dev/null -w '%{http_code}' "$@")
    [ "$got" = "$expected" ] || { echo "expected $expected, got $got"; return 1; }
}
speaks() { # format, first bytes in hexadecimal
    get -H 'content-type: application/json' -o "$answers/speech" "$url/v1/audio/speech" \
        -d "{\"model\": \"tts-1\", \"input\": \"One two three.\", \"voice\": \"alloy\", \"response_format\": \"$1\"}"
    head -c 4 "$answers/speech" | od -An -tx1 | tr -d ' \n' | grep -Eq "^($2)"
}
not_root() { [ "$("${compose[@]}" exec -T "$1" id -u)" = 10001 ]; }
cannot_write() { ! "${compose[@]}" exec -T "$1" touch /opt/x; }
no_zombies() { # A process that has just ended is one for a moment.
    for _ in 1 2 3 4 5; do
        "${compose[@]}" exec -T "$1" sh -c 'grep -l "^State:.Z" /proc/[0-9]*/status' || return 0
        sleep 1
    done
    return 1
}
stops_by_itself() { # service, seconds; a killed process has another exit code
    local container code
    container=$("${compose[@]}" ps --quiet "$1")
    "${compose[@]}" stop --timeout "$2" "$1"
    code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
    [ "$code" = 0 ] || { echo "exit code $code"; return 1; }
}

"${compose[@]}" build
"${compose[@]}" up --detach --wait --wait-timeout $start_seconds || {
    "${compose[@]}" logs --tail 100
    exit 1
}

check "health" contains '"status":"ok"' get "$url/health"
check "models" contains '"object":"list"' get "$url/v1/models"
check "voices" contains espeak-en-us-woman get "$url/v1/audio/voices"
check "metrics" contains vibevoice_requests_total get "$url/metrics"
check "speech in mp3" speaks mp3 'fff|494433'
check "speech in wav" speaks wav 52494646
check "speech in flac" speaks flac 664c6143
check "transcription by the light recognizer" contains 'person you are calling' \
    get -F file=@samples/conversation.flac -F model=light -F response_format=diarized_json "$url/v1/audio/transcriptions"
check "the proxy does not run as root" not_root proxy
check "the proxy's files are read-only" cannot_write proxy
check "no zombie processes in the proxy's container" no_zombies proxy
if [ $engine = yes ]; then
    for format in json text srt vtt verbose_json diarized_json; do
        check "transcription as $format" contains 'eight' \
            get -F file=@samples/two-speakers.wav -F model=vibevoice -F "response_format=$format" "$url/v1/audio/transcriptions"
    done
    check "streamed transcription" contains transcript.text.done \
        get -F file=@samples/two-speakers.wav -F model=vibevoice -F stream=true "$url/v1/audio/transcriptions"
    check "a file without audio gets a 400" status 400 -F file=@README.md "$url/v1/audio/transcriptions"
    check "the engine does not run as root" not_root engine
    check "the engine's files are read-only" cannot_write engine
    check "no zombie processes in the engine's container" no_zombies engine
else
    check "the engine's model gets a 404 without an engine" status 404 -F file=@samples/two-speakers.wav -F model=vibevoice "$url/v1/audio/transcriptions"
fi
check "the proxy stops by itself" stops_by_itself proxy 30
[ $engine = no ] || check "the engine stops by itself" stops_by_itself engine 30
echo "$passed passed, $failed failed"
[ $failed = 0 ]
