#!/bin/bash
# The laboratory: Podwire beside dpdk-testpmd (the limit), one worker, the same traffic, interleaved in one run.
#
#   sudo ./bench/run.sh [--quick] [--scenario NAME] [--size SIZE] [--flows N] [--system NAME] [--repeat N]
#                       [--seconds S] [--march ARCH] [--json -] [--stages]
#
#   --quick          four scenarios, 64 B, 1 and 10,000 flows, short windows: below 3 minutes
#   --scenario NAME  only this; p2p, route, encap, encap-many, encap-100k, decap. Options that name may be repeated.
#   --size SIZE      only this: 64, 1400 (bytes without FCS) or imix
#   --flows N        only this number of flows (1, 1000, 10000, 100000)
#   --system NAME    only this: podwire, testpmd
#   --repeat N       windows of each system, of which the median counts (5)
#   --seconds S      length of a window (1)
#   --march ARCH     what Podwire is compiled for (native; "x86-64-v3" is Debian packages' baseline for it)
#   --json -         prints one line a figure and a ratio on standard output
#   --stages         tells where Podwire's cycles went, stage by stage
#   --without-hugepages  measures on 4 KiB pages where there are no others
#
# The switch under test has CPU 1 to itself in real time, everything else CPU 0. PODWIRE_BUILD_DIR names a build to
# measure instead of the one that is made in build-bench.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/run.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "bench/run.sh makes network namespaces and real-time threads: run it as root" >&2; exit 1; }
march=native
arguments=()
while [ $# -gt 0 ]; do
  if [ "$1" = --march ] && [ $# -gt 1 ]; then
    march=$2
    shift
  else
    arguments+=("$1")
  fi
  shift
done
{
  config/packages.sh
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    PODWIRE_BUILD_DIR=build-bench
    [ "$march" = native ] || PODWIRE_BUILD_DIR+="-$march"
    [ -f "$PODWIRE_BUILD_DIR/build.ninja" ] ||
      meson setup --unity=on -Dunity_size=8 -Dmarch="$march" -Dtests=false "$PODWIRE_BUILD_DIR"
    ninja -C "$PODWIRE_BUILD_DIR" dataplane/podwire-engine
  fi
} >&2
PODWIRE_BUILD_DIR=$(realpath "$PODWIRE_BUILD_DIR")
export PODWIRE_BUILD_DIR
exec /usr/bin/python3 bench/run.py "${arguments[@]}"
