#!/bin/bash
# The laboratory: one worker of Podwire beside dpdk-testpmd (`io`, the limit) and OVS-DPDK (the peer), on the same
# traffic, interleaved in one run. The README's "Measuring" tells what the scenarios and figures mean.
#
#   sudo ./bench/run.sh [--quick] [--scenario NAME] [--size SIZE] [--flows N] [--system NAME] [--repeat N]
#                       [--seconds S] [--march ARCH] [--tuned] [--json -] [--stages] [--results DIR] [--without-hugepages]
#
#   --quick          p2p, route, encap, decap with 64 B, 1 and 10,000 flows, short windows: below 3 minutes
#   --scenario NAME  only this; p2p, route, encap, encap-many, encap-100k, decap,
#                    encap-stateful, decap-stateful, encap-stateful-1-rule, decap-stateful-1-rule, encap-stateful-1m, new-flows,
#                    small-bursts-16, small-bursts-4, churn, memif, memif-few, vhost.
#                    Options that name something may be given several times.
#   --size SIZE      only this: 64, 1400 (bytes without FCS) or imix; memif and vhost also 1500
#   --flows N        only this number of flows (1, 1000, 10000, 100000); 1000000 where memory suffices
#   --system NAME    only this: podwire, podwire-baseline (compiled as packages are; not with --quick), testpmd, ovs-dpdk
#   --repeat N       windows of each system, of which the median counts (9; 5 with --quick)
#   --seconds S      length of a window (0.5; 0.3 with --quick); the kernel disturbs those of a second and more
#   --march ARCH     what Podwire is compiled for (native)
#   --tuned          Podwire as bench/tuned-build.sh builds it: DPDK linked in, LTO, a profile. Takes minutes more the first time
#   --json -         one line a figure, then one a ratio and one a goal, on standard output instead of the tables
#   --stages         tells where Podwire's cycles went, stage by stage
#   --results DIR    where the JSON file, the table and the charts go (bench/results)
#   --without-hugepages  on 4 KiB pages, and therefore without OVS-DPDK
#
# The switch under test has the last CPU to itself in real time, everything else the first. PODWIRE_BUILD_DIR names a build to
# measure instead of the one that is made in build-bench (build-bench-ARCH for another --march), and
# PODWIRE_BASELINE_DIR then one for podwire-baseline.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/run.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "bench/run.sh makes network namespaces and real-time threads: run it as root" >&2; exit 1; }
march=native
tuned=false
packaged=x86-64-v3
arguments=()
compile() {  # DIRECTORY ARCH
  [ -f "$1/build.ninja" ] || meson setup --unity=on -Dunity_size=8 -Dmarch="$2" -Dtests=false "$1"
  ninja -C "$1" dataplane/podwire-engine
}
while [ $# -gt 0 ]; do
  case "$1" in
    --march=*) march=${1#*=} ;;
    --tuned) tuned=true ;;
    --march)
      [ $# -gt 1 ] || { echo "bench/run.sh: --march needs an argument, such as native" >&2; exit 2; }
      march=$2
      shift
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
{
  config/packages.sh
  case " ${arguments[*]} " in
    *" --system"[=\ ]"ovs-dpdk "*) config/packages.sh peers ;;
    *" --system"* | *" --without-hugepages "*) ;;
    *) config/packages.sh peers ;;
  esac
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    PODWIRE_BUILD_DIR=build-bench
    [ "$march" = native ] || PODWIRE_BUILD_DIR+="-$march"
    if $tuned; then
      PODWIRE_BUILD_DIR=build-tuned-$march
      [ -e "$PODWIRE_BUILD_DIR/complete" ] || bench/tuned-build.sh --march "$march" "$PODWIRE_BUILD_DIR"
      ninja -C "$PODWIRE_BUILD_DIR" dataplane/podwire-engine
    else
      compile "$PODWIRE_BUILD_DIR" "$march"
    fi
    case " ${arguments[*]} " in
      *" --system"[=\ ]"podwire-baseline "*) baseline=true ;;
      *" --system"* | *" --quick "*) baseline=false ;;
      *) baseline=true ;;
    esac
    if $baseline; then
      PODWIRE_BASELINE_DIR=build-bench-$packaged
      compile "$PODWIRE_BASELINE_DIR" "$packaged"
      PODWIRE_BASELINE_DIR=$(realpath "$PODWIRE_BASELINE_DIR")
      export PODWIRE_BASELINE_DIR
    fi
  fi
} >&2
PODWIRE_BUILD_DIR=$(realpath "$PODWIRE_BUILD_DIR")
export PODWIRE_BUILD_DIR
exec /usr/bin/python3 bench/run.py "${arguments[@]}"
