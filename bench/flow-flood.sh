#!/bin/bash
# One pod begins connections as fast as a worker reads them, beside a million established ones: what those, and two bystanders' own
# TCP connections, lose by it.
#
#   sudo ./bench/flow-flood.sh [--flows N] [--connections N] [--held N] [--seconds S] [--json]
#
#   --flows N        established connections of the first pod, which sends on all of them all the time (1000000)
#   --connections N  TCP connections that a bystander opens to another in each phase (300)
#   --held N         TCP connections that it has from before (50)
#   --seconds S      length of a phase at least (5)
#   --json           one object a phase instead of the list
#
# PODWIRE_BUILD_DIR names a build to measure instead of the one that is made for this machine in build-bench.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/flow-flood.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "flow-flood.sh makes network namespaces and real-time threads: run it as root" >&2; exit 1; }
{
  config/packages.sh
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    [ -f build-bench/build.ninja ] || meson setup --unity=on -Dunity_size=8 -Dmarch=native -Dtests=false build-bench
    ninja -C build-bench dataplane/podwire-engine
  fi
} >&2
PODWIRE_BUILD_DIR=$(realpath "${PODWIRE_BUILD_DIR:-build-bench}")
export PODWIRE_BUILD_DIR
exec /usr/bin/python3 bench/flow_flood.py "$@"
