#!/usr/bin/env bash
# allocs.sh — heap allocations of the running router, Lua included, for each
# unit on the wire, from its own memory statistics: a stateless relay (one-line
# script) and a full call with the shipped script.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
load=${TMPDIR:-/tmp}/sipload.$(id -u)
(cd bench/sipload && go build -o "$load" .)
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
export BENCH_STATE=$state BENCH_LISTEN=127.0.77.10:5099
sipr="bin/sipr -f bench/sipr.lua"
$sipr db init >/dev/null
$sipr domain add sip.test >/dev/null
seq 0 999 | sed 's/.*/u&@sip.test secret/' | $sipr user import - >/dev/null
mallocs() { $sipr ctl -o json core.info | sed -n 's/.*"mallocs": *\([0-9]*\).*/\1/p'; }
measure() { # name units warm-up-units command…
  local name=$1 units=$2 warm=$3; shift 3
  "$@" -count "$warm" >/dev/null
  local a b
  a=$(mallocs)
  "$@" -count "$units" >/dev/null
  b=$(mallocs)
  awk "BEGIN{printf \"%-16s %8d units  %.3f allocations a unit\n\", \"$name\", $units, ($b-$a)/$units}"
}
serve() { $sipr run >"$state/log" 2>&1 & pid=$!; for _ in $(seq 50); do [ -S "$state/sipr.sock" ] && break; sleep 0.1; done; }
BENCH_ROUTE=forward.lua; export BENCH_ROUTE; serve
measure "stateless relay" "${UNITS:-500000}" 50000 "$load" -pid $pid -proxy "$BENCH_LISTEN" -mode relay
kill $pid; wait $pid || true; unset BENCH_ROUTE; serve
"$load" -pid $pid -proxy "$BENCH_LISTEN" -mode register -users 1000 -count 1000 -contact 127.0.77.2:7070 >/dev/null
# Transactions live 32 s: the warm-up lets as many end as begin.
measure "full call" "$(( ${UNITS:-500000} / 10 ))" "$(( ${UNITS:-500000} / 2 ))" "$load" -pid $pid -proxy "$BENCH_LISTEN" -mode call -rate 4000 -users 1000 -ruri "sip:u%u@sip.test"
kill $pid; wait $pid || true
