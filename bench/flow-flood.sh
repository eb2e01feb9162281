#!/bin/bash
# One pod begins connections as fast as a worker reads them, beside a million established ones: what those, and two bystanders' own
# TCP connections, lose by it.
#
#   sudo ./bench/flow-flood.sh [--flows N] [--connections N] [--held N] [--seconds S] [--json]
#
#   --flows N        established connections of the first pod, which sends on all of them all the time (1000000)
#   --connections N  TCP connections that a bystander opens to another in each phase (300)
#   --held N         TCP connections that it has from before (50)
#   --seconds S      length of a phase at least (5)
#   --json           one object a phase instead of the list
#
# PODWIRE_BUILD_DIR names a build to measure instead of the one that is made for this machine in build-bench.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lab/prepare.sh"
exec /usr/bin/python3 bench/flow_flood.py "$@"
