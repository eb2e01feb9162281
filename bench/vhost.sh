#!/bin/bash
# Packets a second from one vhost-user port through a stateless domain to another, one worker, beside dpdk-testpmd
# forwarding (mac) over net_vhost with the same traffic machine, interleaved in one run.
#
#   sudo ./bench/vhost.sh [--json] [--repeat N] [--seconds S]
#
#   --json         one object with the medians in Mpps and Podwire's ratio to testpmd; else a table
#   --repeat N     runs of each, of which the median counts (3)
#   --seconds S    length of a run (3)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/vhost.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "vhost.sh makes network namespaces: run it as root" >&2; exit 1; }
{
  config/packages.sh
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    [ -f build/build.ninja ] || meson setup build
    ninja -C build dataplane/podwire-engine
  fi
} >&2
exec /usr/bin/python3 bench/vhost.py "$@"
