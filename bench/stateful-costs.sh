#!/bin/bash
# What policy rules, masquerade and services cost packets of established connections: one engine of one worker each, fed with the
# same frames, measured in turn in one run, as cycles a packet and as ratios.
#
#   sudo ./bench/stateful-costs.sh [--flows N] [--size SIZE] [--repeat N] [--seconds S] [--json]
#
#   --flows N      connections (10000)
#   --size SIZE    64, 1400 (bytes without FCS) or imix (64)
#   --repeat N     windows of each, of which the median counts (9)
#   --seconds S    length of a window (0.5)
#   --json         one object a line instead of the table
#
# PODWIRE_BUILD_DIR names a build to measure instead of the one that is made for this machine in build-bench.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/stateful-costs.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "stateful-costs.sh makes network namespaces and real-time threads: run it as root" >&2; exit 1; }
{
  config/packages.sh
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    [ -f build-bench/build.ninja ] || meson setup --unity=on -Dunity_size=8 -Dmarch=native -Dtests=false build-bench
    ninja -C build-bench dataplane/podwire-engine
  fi
} >&2
PODWIRE_BUILD_DIR=$(realpath "${PODWIRE_BUILD_DIR:-build-bench}")
export PODWIRE_BUILD_DIR
exec /usr/bin/python3 bench/stateful_costs.py "$@"
