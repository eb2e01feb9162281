#!/bin/bash
# 64 B and 1500 B frames through a switch between two memif or two vhost-user ports, one worker: Podwire (a stateless
# domain), dpdk-testpmd forwarding in mode `mac`, and OVS-DPDK, interleaved in one run on the same traffic machine.
#
#   sudo ./bench/userspace-ports.sh [--json] [--scenario memif|vhost] [--size 64|1500] [--without-ovs]
#                                   [--repeat N] [--seconds S]
#
#   --json         one object with the medians in Mpps and Podwire's ratio to each; else a table
#   --scenario, --size   only these (both)
#   --without-ovs  leaves out OVS-DPDK, and does not install it
#   --repeat N     runs of each, of which the median counts (5)
#   --seconds S    length of a run (2)
#
# The traffic machine is one dpdk-testpmd on CPU 0 with both ports' other ends, which passes what comes out of one into
# the other, so that a fixed number of frames goes round both ways; the switch under test has CPU 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/userspace-ports.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "userspace-ports.sh makes network namespaces: run it as root" >&2; exit 1; }
{
  config/packages.sh
  case " $* " in *" --without-ovs "*) ;; *) config/packages.sh peers ;; esac
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    [ -f build/build.ninja ] || meson setup --unity=on -Dunity_size=8 build
    ninja -C build dataplane/podwire-engine
  fi
} >&2
exec /usr/bin/python3 bench/userspace_ports.py "$@"
