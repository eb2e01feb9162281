#!/bin/bash
# One node among many in etcd: how long it takes to have them all in its engine, how far behind it is while they change, and
# what it costs in memory. The others are records in a real etcd; no packets flow.
#
#   sudo ./bench/cluster-scale.sh [--nodes N] [--endpoints N] [--rate N] [--seconds S] [--json]
#
#   --nodes N      beside the one that is measured (5000)
#   --endpoints N  of each of them, in a domain of mode l2, at most 250 (50)
#   --rate N       changes of nodes and endpoints a second (1000)
#   --seconds S    of changes (10)
#   --json         one object instead of the list
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/cluster-scale.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "cluster-scale.sh makes network namespaces: run it as root" >&2; exit 1; }
{
  config/packages.sh
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    [ -f build/build.ninja ] || meson setup --unity=on -Dunity_size=8 build
    ninja -C build dataplane/podwire-engine control/podwired control/cli/podwirectl cni-shim/podwire
  fi
} >&2
exec /usr/bin/python3 bench/cluster_scale.py "$@"
