#!/bin/bash
# One TCP stream between two ordinary pods: Podwire beside what else could carry it, interleaved in one run.
#
#   sudo ./bench/pod-tcp.sh [--json] [--cross-node] [--repeat N] [--seconds S]
#
#   (default)      same node: Podwire, Linux bridge + veth, DPDK's net_tap (dpdk-testpmd between two taps)
#   --cross-node   two nodes: Podwire's VXLAN, the kernel's VXLAN, over the same kind of veth underlay
#   --json         one object with the medians in Gbit/s and Podwire's ratio to each; else a table
#   --repeat N     runs of each, of which the median counts (5)
#   --seconds S    length of a run (3)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/pod-tcp.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "pod-tcp.sh makes network namespaces: run it as root" >&2; exit 1; }
{
  config/packages.sh
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    [ -f build/build.ninja ] || meson setup --unity=on -Dunity_size=8 build
    ninja -C build dataplane/podwire-engine control/podwired control/cli/podwirectl cni-shim/podwire
  fi
} >&2
exec /usr/bin/python3 bench/pod_tcp.py "$@"
