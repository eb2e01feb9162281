#!/bin/bash
# One node with thousands of tenants that all have the same prefix, a pod in each: how long its configuration takes to check,
# how long it takes to start with it, what an ADD, a tenant more and the list of all cost, and what a tenant costs in memory.
# No packets flow.
#
#   sudo ./bench/tenants.sh [--domains N] [--pods N] [--masquerade] [--json]
#
#   --domains N    tenants (4000)
#   --pods N       in as many of them (as --domains)
#   --masquerade   every tenant masquerades and has prefixes of its own, which all of them leave alone
#   --json         one object instead of the list
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lab/prepare.sh"
[ -x "$PODWIRE_BUILD_DIR/control/podwired" ] ||
  ninja -C "$PODWIRE_BUILD_DIR" control/podwired control/cli/podwirectl cni-shim/podwire >&2
exec /usr/bin/python3 bench/tenants.py "$@"
