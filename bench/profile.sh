#!/usr/bin/env bash
# profile.sh — makes cmd/sipr/default.pgo, the profile that the compiler works
# with, from one run of each kind of load.
set -euo pipefail
cd "$(dirname "$0")/.."
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
export BENCH_STATE=$state BENCH_LISTEN=127.0.77.10:5099
sipr="bin/sipr -f bench/sipr.lua"
(cd bench/sipload && go build -o "$state/sipload" .)
$sipr db init >/dev/null
$sipr domain add --no-reload sip.test >/dev/null
seq 0 9999 | sed 's/.*/u&@sip.test secret/' | $sipr user import --no-reload - >/dev/null

# load MODE SECONDS [ARGUMENT…]: what the router does under one kind of load.
load() {
  taskset -c 1 $sipr run --cpu-profile "$state/$1.prof" >"$state/log" 2>&1 &
  local pid=$! mode=$1 seconds=$2
  shift 2
  for _ in $(seq 50); do [ -S "$state/sipr.sock" ] && break; sleep 0.1; done
  local send="taskset -c 0 $state/sipload -pid $pid -proxy $BENCH_LISTEN"
  [ "$mode" = call ] && $send -mode register -users 1000 -count 1000 -contact 127.0.77.2:7070 >/dev/null
  $send -mode "${mode/slrelay/relay}" -runs 1 -warm 1s -dur "${seconds}s" "$@" >/dev/null
  kill "$pid"
  wait "$pid" || true
}
BENCH_TRUST=1 load call 16 -users 1000 -ruri "sip:u%u@sip.test"
BENCH_TRUST=1 load register 10 -users 10000
BENCH_TRUST=0 load regauth 6 -users 10000
BENCH_TRUST=1 BENCH_ROUTE=forward.lua load slrelay 8
go tool pprof -proto "$state"/*.prof >"$state/merged" 2>/dev/null
mv "$state/merged" cmd/sipr/default.pgo
