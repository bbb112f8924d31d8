#!/usr/bin/env bash
# allocs.sh [relay|call]… — heap allocations of the running router, Lua
# included, for each unit on the wire, from its own memory statistics: a
# stateless relay (one-line script) and a full call with the shipped script.
# MESSAGES=1000000 is how many messages the router receives while it is
# measured, RATE=4000 how many calls begin in a second.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
messages=${MESSAGES:-1000000} rate=${RATE:-4000}
load=${TMPDIR:-/tmp}/sipload.$(id -u)
(cd bench/sipload && go build -o "$load" .)
state=$(mktemp -d) pid=
trap '[ -z "$pid" ] || kill "$pid" || true; wait; rm -rf "$state"' EXIT
export BENCH_STATE=$state BENCH_LISTEN=127.0.77.10:5099
sipr="${SIPR:-bin/sipr} -f bench/sipr.lua"
$sipr db init >/dev/null
$sipr domain add --no-reload sip.test >/dev/null
seq 0 999 | sed 's/.*/u&@sip.test secret/' | $sipr user import --no-reload - >/dev/null

serve() {
  $sipr run >"$state/log" 2>&1 & pid=$!
  for _ in $(seq 50); do [ -S "$state/sipr.sock" ] && return; sleep 0.1; done
  cat "$state/log" >&2; return 1
}
stop() { kill "$pid"; wait "$pid" || true; pid=; }
number() { $sipr ctl -o json "$1" | sed -n "s/.*\"$2\": *\([0-9]*\).*/\1/p"; } # command member
generate() { # options…
  "$load" -pid "$pid" -proxy "$BENCH_LISTEN" -users 1000 "$@" >"$state/load" || { cat "$state/load" >&2; return 1; }
}
measure() { # name units warm-up-units options…
  local name=$1 units=$2 warm=$3 a b m n; shift 3
  generate -count "$warm" "$@"
  m=$(number core.stats transport.received); a=$(number core.info mallocs)
  generate -count "$units" "$@"
  b=$(number core.info mallocs); n=$(number core.stats transport.received)
  awk "BEGIN{printf \"%-16s %8d units  %8d messages received  %7.3f allocations a unit\n\", \"$name\", $units, $n-$m, ($b-$a)/$units}"
}

for mode in ${*:-relay call}; do
  case $mode in
  relay) # a request and its response
    BENCH_ROUTE=forward.lua serve
    measure "stateless relay" $((messages / 2)) 100000 -mode relay;;
  call) # INVITE, 180, 200, ACK, BYE, 200
    serve
    generate -mode register -count 1000 -contact 127.0.77.2:7070
    # Transactions live 32 s: after 36 s as many end as begin.
    measure "full call" $((messages / 6)) $((rate * 36)) -mode call -rate "$rate" -ruri "sip:u%u@sip.test";;
  *) echo "allocs.sh: $mode: relay and call are known" >&2; exit 2;;
  esac
  stop
done
