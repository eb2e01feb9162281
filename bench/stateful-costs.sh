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
. "$(dirname "${BASH_SOURCE[0]}")/lab/prepare.sh"
exec /usr/bin/python3 bench/stateful_costs.py "$@"
