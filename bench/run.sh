#!/usr/bin/env bash
# run.sh [MODE…] — sipr side by side with Kamailio, in turns on CPU 1, with the
# generator on CPU 0. Prints the table of ratios. MODE: call options register
# regauth relay slrelay (default: all). ROUNDS=5.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
modes=${*:-call options register regauth relay slrelay}
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
export BENCH_STATE=$state BENCH_LISTEN=127.0.77.10:5099
sipr="bin/sipr -f bench/sipr.lua"
$sipr db init >/dev/null
$sipr domain add --no-reload sip.test >/dev/null
seq 0 9999 | sed 's/.*/u&@sip.test secret/' | $sipr user import --no-reload - >/dev/null
for mode in $modes; do
  unset BENCH_ROUTE
  export BENCH_TRUST=1
  [ "$mode" = regauth ] && BENCH_TRUST=0
  [ "$mode" = slrelay ] && export BENCH_ROUTE=forward.lua
  taskset -c 1 $sipr run >"$state/log" 2>&1 &
  pid=$!
  for _ in $(seq 50); do [ -S "$state/sipr.sock" ] && break; sleep 0.1; done
  "$here/compare.sh" sipr "$BENCH_LISTEN" "$pid" "$mode" || cat "$state/log"
  kill "$pid"
  wait "$pid" || true
done
