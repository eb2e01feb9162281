#!/bin/bash
# Network policies applied one after another while a TCP stream of a given rate flows between two pods that they select: how long
# each takes to be in force, whether the stream dips, and what the daemons' memory grows by.
#
#   sudo ./bench/policy-churn.sh [--policies N] [--pods N] [--rate RATE] [--quiet S] [--json]
#
#   --policies N   applied one after another (1000)
#   --pods N       whose labels are known (5000)
#   --rate RATE    of the stream, as iperf3 takes it (300M)
#   --quiet S      seconds before and after, to compare with (5)
#   --json         one object instead of the list
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/policy-churn.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "policy-churn.sh makes network namespaces: run it as root" >&2; exit 1; }
{
  config/packages.sh
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    [ -f build/build.ninja ] || meson setup --unity=on -Dunity_size=8 build
    ninja -C build dataplane/podwire-engine control/podwired control/cli/podwirectl cni-shim/podwire
  fi
} >&2
exec /usr/bin/python3 bench/policy_churn.py "$@"
