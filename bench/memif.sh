#!/bin/bash
# One worker between two memif ports: Podwire beside dpdk-testpmd forwarding (mac) over net_memif, with the same
# traffic machine, interleaved in one run.
#
#   sudo ./bench/memif.sh [--json] [--repeat N] [--seconds S] [--sizes 64,1500]
#
#   --json         one object: Mpps and cycles a packet of both (medians), and Podwire's ratio in Mpps; else a table
#   --repeat N     runs of each, of which the median counts (5)
#   --seconds S    length of a run (3)
#   --sizes LIST   frame sizes in bytes (64,1500)
#
# The traffic machine is a testpmd on the other core: a pcap source into one memif, the other memif into nothing.
# Both contenders are memif servers, so that the machine's memory is used alike. Needs two cores and hugepages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/memif.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "memif.sh makes network namespaces: run it as root" >&2; exit 1; }
{
  config/packages.sh
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    [ -f build/build.ninja ] || meson setup build
    ninja -C build dataplane/podwire-engine
  fi
} >&2
exec /usr/bin/python3 bench/memif.py "$@"
