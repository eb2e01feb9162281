#!/bin/bash
# Builds the libFuzzer targets of tests/fuzz with clang and AddressSanitizer, and runs each for a while on its kept
# corpus. What they find lands in build-fuzz/<target>-crash-*; what they learn stays there, too.
#
#   tests/fuzz.sh [SECONDS]            each target for SECONDS (default 10)
#   tests/fuzz.sh --merge [SECONDS]    and adds to the kept corpus what covers more
#
# Ends with a line `fuzz: TARGET runs=… seconds=… crashes=…` a target; exit status 0 only without crashes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
merge=false
if [ "${1:-}" = --merge ]; then
  merge=true
  shift
fi
seconds=${1:-10}
clang=${CLANGXX:-clang++}
command -v "$clang" >/dev/null || { echo "tests/fuzz.sh: no $clang; run config/packages.sh test" >&2; exit 1; }

out=build-fuzz
mkdir -p "$out"
base="dataplane/base/addresses.cpp"
memif="dataplane/ports/memif_ring.cpp dataplane/ports/memif_region.cpp dataplane/ports/fault_guard.cpp
  dataplane/ports/memif_server_handshake.cpp dataplane/ports/memif_client_handshake.cpp"
flags="-std=c++20 -g -O1 -I. -march=x86-64-v3 -fsanitize=fuzzer,address -fno-omit-frame-pointer"
build() {
  # shellcheck disable=SC2086
  "$clang" $flags "tests/fuzz/$1.cpp" "${@:2}" -o "$out/$1"
}
# shellcheck disable=SC2086
build memif_control_fuzz $memif $base
# shellcheck disable=SC2086
build memif_ring_fuzz dataplane/ports/memif_ring.cpp
build vhost_message_fuzz dataplane/ports/vhost_message.cpp dataplane/ports/vhost_address_map.cpp dataplane/ports/vhost_socket.cpp $base

crashes=0
for target in memif_control memif_ring vhost_message; do
  kept=tests/fuzz/corpus/$target
  learnt=$out/corpus-$target
  mkdir -p "$learnt"
  status=0
  "$out/${target}_fuzz" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 \
    -artifact_prefix="$out/$target-" "$learnt" "$kept" >"$out/$target.log" 2>&1 || status=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$target.log" | tail -n 1)
  [ $status -eq 0 ] || { crashes=$((crashes + 1)) && tail -n 40 "$out/$target.log" >&2; }
  echo "fuzz: $target runs=${runs:-0} seconds=$seconds crashes=$((status != 0))"
  if $merge && [ $status -eq 0 ]; then
    "$out/${target}_fuzz" -merge=1 "$kept" "$learnt" >/dev/null 2>&1
  fi
done
[ $crashes -eq 0 ]
