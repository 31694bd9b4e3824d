#!/usr/bin/env bash
# Runs a command with a Ray cluster on this machine only, on loopback, and stops the cluster when the command ends:
#   tests/ray/cluster.sh BIN COMMAND [ARGUMENT ...]
# BIN is the folder of an environment's programs in which `ray` is; the command finds HOST:PORT in AFTERKERNEL_TEST_RAY.
set -euo pipefail
[ $# -gt 1 ] || { echo "$0: name the folder in which ray is, and the command to run" >&2; exit 2; }
bin=$1
shift
[ -x "$bin/ray" ] || { echo "$0: there is no $bin/ray: make test-ray installs it" >&2; exit 2; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/ray.XXXXXX")
port=$("$bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# The cluster's processes must find the fake run of the tests too.
root=$(cd "$(dirname "$0")/../.." && pwd)
export PYTHONPATH="$root:$root/tests/launchers${PYTHONPATH:+:$PYTHONPATH}"
export RAY_USAGE_STATS_ENABLED=0
# A token of its own, since anyone who can connect to a cluster can run code in it.
RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$("$bin/python" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE RAY_AUTH_TOKEN

"$bin/ray" start --head --block --node-ip-address=127.0.0.1 --port="$port" --include-dashboard=false --num-cpus=2 \
  --object-store-memory=100000000 --temp-dir="$dir" >"$dir/start.log" 2>&1 &
head=$!
stop() {
  status=$?
  trap - EXIT
  kill "$head" 2>/dev/null || true
  wait "$head" 2>/dev/null || true
  if [ "$status" -ne 0 ]; then tail -n 20 "$dir/start.log" >&2 || true; fi
  rm -rf "$dir"
  exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

for _ in $(seq 120); do
  grep -q "Ray runtime started" "$dir/start.log" && break
  kill -0 "$head" 2>/dev/null || break
  sleep 0.5
done
grep -q "Ray runtime started" "$dir/start.log" || { echo "$0: Ray does not start" >&2; exit 1; }

export AFTERKERNEL_TEST_RAY="127.0.0.1:$port"
"$@"
