#!/bin/bash
# What a second worker brings: Podwire with one and with two workers on the same traffic, measured in turn in one run, as
# cycles a packet, packets a second and their ratio.
#
#   sudo ./bench/scaling.sh [--scenario NAME] [--flows N] [--size SIZE] [--repeat N] [--seconds S] [--json]
#
#   --scenario NAME  only this, may be repeated: p2p, encap, decap, encap-stateful (one rule, established connections,
#                    half of which have their two directions on different workers)
#   --flows N        of each worker (10000)
#   --size SIZE      64 or 1400, bytes without FCS (64)
#   --repeat N       windows of each, of which the median counts (9)
#   --seconds S      length of a window (0.3); both CPUs belong to the workers meanwhile, and the kernel takes them away
#                    after about a second
#   --json           one object a line instead of the table
#
# Every worker receives from a queue of its own and sends on one of its own. On a machine of two CPUs nothing is left for
# other programs while a window lasts: this one and the engine's main thread sleep. PODWIRE_BUILD_DIR names a build to
# measure instead of the one that is made for this machine in build-bench.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lab/prepare.sh"
exec /usr/bin/python3 bench/scaling.py "$@"
