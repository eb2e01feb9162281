#!/bin/bash
# The loss-free rate (RFC 2544 section 26.1) and latency (26.2) of Podwire, dpdk-testpmd and OVS-DPDK between two
# shared-memory ports, measured by podwire-trafficgen in one run: JSON, Markdown and a chart of each, and a table of all.
#
#   sudo ./bench/ndr.sh [--kind memif|vhost] [--system NAME] [--size LIST] [--flows LIST] [--loss LIST] [--quick]
#                       [--json -] [--results DIR] [-- GENERATOR OPTION...]
#
#   --kind KIND    what the two ports are (memif)
#   --system NAME  only this: podwire, testpmd (forwards and rewrites MACs), ovs-dpdk; may be given several times
#   --size LIST    bytes with FCS, 64 to 1518, or imix (64,512,1518,imix; 64 with --quick)
#   --flows LIST   (1)
#   --loss LIST    percent: 0 is the loss-free rate, others are PDRs (0,0.1)
#   --quick        short trials: about a minute
#   --json -       one line a rate, then one a ratio, on standard output instead of the table
#   --results DIR  where the files go (bench/results)
#   -- ...         goes to podwire-trafficgen as it is, such as `-- --trial 60 --trials 3 --pause 5` for what RFC 2544 says
#
# The switch has the last CPU to itself in real time, the generator the first one. What the generator cannot offer is told
# as its limit, not the switch's. PODWIRE_BUILD_DIR names a build (with -Dbench=true) to measure instead of the one that is
# made for this machine in build-bench.
set -euo pipefail
needs_bench=bench/trafficgen/podwire-trafficgen
. "$(dirname "${BASH_SOURCE[0]}")/lab/prepare.sh"
case " $* " in *" --system"*) ;; *) config/packages.sh peers >&2 ;; esac
case " $* " in *" ovs-dpdk "*) config/packages.sh peers >&2 ;; esac
exec /usr/bin/python3 bench/ndr.py "$@"
