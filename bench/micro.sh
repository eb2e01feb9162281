#!/bin/bash
# Cycles of every pipeline stage and table alone (Google Benchmark), and the stage driver's own counters beside them.
#
#   ./bench/micro.sh [--quick] [--filter REGEX] [--repeat N] [--json FILE|-] [--without-cross-check]
#
#   --quick        bursts of 64 with 10k flows, tables of 1k and 100k entries, for an instant each: about a minute
#   --filter REGEX only the benchmarks whose name matches, such as 'stage/forward' or 'table/'
#   --repeat N     each N times, of which the median counts (1)
#   --json FILE    writes the figures there as well, "-": prints them instead of the tables: one line a benchmark,
#                  {"name","cycles","driver_cycles",...}, then one a stage of the cross-check
#
# Builds for this machine in build-bench (or in PODWIRE_BUILD_DIR, as it is configured). Names: stage/STAGE/TRAFFIC,
# pipeline/TRAFFIC, with burst size, flow count and cold (1: frames come from memory, 0: they were just read);
# stage/express is the express lane; TRAFFIC "tracked" are established connections of a stateful domain.
# table|insert|fib/WHOSE/..., with the number of entries and hot (1: 1,000 of them take turns, 0: all in random order).
# policy/first_packet|compile with the number of rules, policy/sweep with that of the pods which a change concerns.
# Cycles are the TSC's. Runs on the last CPU. CI builds none of this; `meson test -C build-bench micro` runs each benchmark for
# an instant.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
quick=false filter=. repeat=1 json="" cross_check=true
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=true ;;
    --filter | --repeat | --json)
      [ $# -ge 2 ] || { echo "micro.sh: $1 needs a value" >&2; exit 2; }
      printf -v "${1#--}" %s "$2"
      shift
      ;;
    --without-cross-check) cross_check=false ;;
    --help | -h) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/micro.sh; exit ;;
    *) echo "micro.sh: no option \"$1\"; see --help" >&2; exit 2 ;;
  esac
  shift
done
build=${PODWIRE_BUILD_DIR:-build-bench}
{
  config/packages.sh build
  [ -f "$build/build.ninja" ] || meson setup --unity=on -Dunity_size=8 -Dmarch=native -Dbench=true -Dtests=false "$build"
  # bench/run.sh makes it without the benches.
  grep -q '^build bench/micro' "$build/build.ninja" || meson configure -Dbench=true "$build"
  ninja -C "$build" bench/micro/podwire-micro
} >&2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
arguments=(--benchmark_min_time=0.005 "--benchmark_filter=$filter" "--benchmark_repetitions=$repeat"
  --benchmark_enable_random_interleaving=$([ "$repeat" = 1 ] && echo false || echo true))
if $quick; then
  [ "$filter" = . ] || { echo "micro.sh: --quick has a filter of its own; leave out --filter" >&2; exit 2; }
  arguments=(--benchmark_min_time=0.001
    '--benchmark_filter=burst:64/flows:10000/|entries:(1000|100000)(/|$)|^(hash|publisher|programmer)/')
fi
micro=$build/bench/micro/podwire-micro
"$micro" "${arguments[@]}" --benchmark_out="$work/figures.json" --benchmark_out_format=json >"$work/log" || {
  tail -n 20 "$work/log" >&2
  exit 1
}
: >"$work/cross"
: >"$work/cross.json"
if $cross_check; then
  "$micro" --cross-check --json >"$work/cross.json"
  [ "$json" = - ] || "$micro" --cross-check >"$work/cross"
fi
/usr/bin/python3 bench/micro/report.py "$work" "$json"
