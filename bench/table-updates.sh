#!/bin/bash
# What a change of tables takes while packets flow: until an endpoint that moved is found at its new place by the worker, and
# until all of 100,000 remote endpoints are replaced. Each figure stands beside its goal.
#
#   sudo ./bench/table-updates.sh [--moves N] [--endpoints N] [--repeat N] [--json]
#
#   --moves N      of one endpoint from port to port (1000). What is told is an upper bound: when the engine's counters, read
#                  after the reply, showed that the former port got nothing more
#   --endpoints N  that are replaced, by begin, chunks of 5,000 and commit over the engine's socket (100000)
#   --repeat N     replacements, of which the median counts (3)
#   --json         one object a line
#
# `bench/run.sh --scenario churn` measures what 1,000 updates a second cost forwarding. PODWIRE_BUILD_DIR names a build to
# measure instead of the one that is made for this machine in build-bench.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lab/prepare.sh"
exec /usr/bin/python3 bench/table_updates.py "$@"
