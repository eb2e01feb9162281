#!/bin/bash
# Builds the engine with everything that the compiler can do for it: for this machine, DPDK linked in, optimised across files
# (LTO), and by a profile (PGO) of short runs of the laboratory's scenarios.
#
#   sudo ./bench/tuned-build.sh [--without-profile] [--march ARCH] [DIRECTORY]
#
#   --without-profile  LTO and DPDK linked in only
#   --march ARCH       (native)
#   DIRECTORY          where (build-tuned)
#
# To see what it brings, beside the build that bench/run.sh measures otherwise, in one run:
#
#   sudo PODWIRE_BUILD_DIR=build-tuned PODWIRE_BASELINE_DIR=build-bench ./bench/run.sh --flows 10000 --size 64 \
#       --scenario p2p --scenario encap --scenario decap --system podwire --system podwire-baseline
#
# There "podwire" is the tuned one and "podwire-baseline" the other. After changes of the code run it again: what has changed
# is compiled without a profile until then.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' bench/tuned-build.sh; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
profile=true march=native directory=build-tuned
while [ $# -gt 0 ]; do
  case "$1" in
    --without-profile) profile=false ;;
    --march)
      [ $# -ge 2 ] || { echo "tuned-build.sh: --march needs an argument, such as native" >&2; exit 2; }
      march=$2
      shift
      ;;
    -*) echo "tuned-build.sh: no option \"$1\"; see --help" >&2; exit 2 ;;
    *) directory=$1 ;;
  esac
  shift
done
if $profile && [ "$(id -u)" != 0 ]; then
  echo "tuned-build.sh runs the laboratory for its profile: run it as root, or --without-profile" >&2
  exit 1
fi
config/packages.sh
options=(-Dmarch="$march" -Dtests=false -Dstatic_dpdk=true -Db_lto=true --unity=on -Dunity_size=8)
[ -f "$directory/build.ninja" ] || meson setup "${options[@]}" "$directory"
build() {  # PGO [COMPILER ARGUMENT...]
  meson configure "${options[@]}" -Db_pgo="$1" -Dcpp_args="${*:2}" "$directory"
  ninja -C "$directory" dataplane/podwire-engine
}
rm -f "$directory/complete"  # what bench/run.sh --tuned looks for
if ! $profile; then
  build off ""
  touch "$directory/complete"
  exit
fi
# Of a former run: the program may have changed since.
find "$directory" -name '*.gcda' -delete
build generate -fprofile-update=prefer-atomic
# What the profile is of: every way through the express lane and the stages behind it, each as often as the others.
PODWIRE_BUILD_DIR=$directory bench/run.sh --system podwire --size 64 --flows 10000 --repeat 2 --seconds 0.2 \
  --scenario p2p --scenario route --scenario encap --scenario encap-many --scenario decap --scenario encap-stateful \
  --scenario decap-stateful --results "$directory/profile"
find "$directory" -name '*.gcda' | grep -q . || {
  echo "tuned-build.sh: the runs left no profile in $directory; did the engine end by SIGTERM?" >&2
  exit 1
}
# What the runs did not come by is as important as it was, and what is changed afterwards has no profile.
build use -fprofile-correction -fprofile-partial-training -Wno-missing-profile -Wno-error=coverage-mismatch
touch "$directory/complete"
