#!/bin/bash
# What a connection and a remote endpoint take of the engine's memory, all told: how much its resident memory grows with
# 120,000 connections in a table of 131,072, and with 100,000 remote endpoints, beside the goals.
#
#   sudo ./bench/memory.sh [--endpoints N] [--json]
#
#   --endpoints N  remote endpoints, 5000 to 100000 (100000)
#   --json         one object a line
#
# PODWIRE_BUILD_DIR names a build to measure instead of the one that is made for this machine in build-bench.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lab/prepare.sh"
exec /usr/bin/python3 bench/memory.py "$@"
