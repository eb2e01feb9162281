#!/bin/bash
# Builds Podwire and runs its tests. As root: packages are installed and namespaces made.
#
#   tests/run.sh                  everything
#   tests/run.sh PART...          unit         GoogleTest, no EAL
#                                 eal          GoogleTest with --no-huge
#                                 functional   pytest and scapy on network namespaces
#                                 cni          the plugin as a runtime calls it
#                                 sanitizers   unit and eal under ASan and UBSan, the publisher's under TSan
#                                 fuzz         each libFuzzer target for 10 s on its kept corpus
#   tests/run.sh murder [--rounds N]   kills memif and vhost peers under traffic N times (200; `functional` does it 20
#                                      times) and ends with a line "murder: rounds=... engine_deaths=..."
#   PYTEST_ARGUMENTS="-k vxlan"   is handed to pytest
#
# Exit status 0 only when all passed and nothing was skipped but what tests/skips.txt names.
set -uo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo" || exit 1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin  # Debian's own meson and python3, whatever else is installed
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1

all_parts="unit eal functional cni sanitizers fuzz"
rounds=200
parts=""
while [ $# -gt 0 ]; do
  if [ "$1" = --rounds ]; then
    [[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || { echo "tests/run.sh: --rounds is \"${2:-}\", must be a number from 1" >&2; exit 2; }
    rounds=$2
    shift
  else
    parts+="${parts:+ }$1"
  fi
  shift
done
parts=${parts:-$all_parts}
for part in $parts; do
  case " $all_parts murder " in
    *" $part "*) ;;
    *)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
      echo "tests/run.sh: no part \"$part\"; the parts are: $all_parts murder" >&2
      exit 2
      ;;
  esac
done

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
reports=()  # JUnit files
crashed=()  # arguments for summary.py
times=()
failures=0

section() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

# timed NAME COMMAND...
timed() {
  local name=$1 started=$SECONDS status=0
  shift
  section "$name"
  "$@" || status=$?
  times+=("$(printf '%5d s  %s' $((SECONDS - started)) "$name")")
  return $status
}

failed_in() { grep -Eq '<(failure|error)[ />]' "$1" 2>/dev/null; }

# record NAME STATUS FILE: keeps the report; a bad status without a failed test in it is a crash.
record() {
  [ -s "$3" ] && reports+=("$3")
  if [ "$2" -ne 0 ]; then
    failures=$((failures + 1))
    failed_in "$3" || crashed+=(--crashed "$1")
  fi
}

# Several sources in one compiler run take half the time, because most of it goes into headers. For work on the code,
# `meson setup build` without it rebuilds less after a change.
unity="--unity=on -Dunity_size=8"

# build_in DIRECTORY MESON_OPTIONS... -- NINJA_TARGETS...
build_in() {
  local directory=$1 options=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do options+=("$1") && shift; done
  shift
  # shellcheck disable=SC2086
  [ -f "$directory/build.ninja" ] || meson setup "$directory" $unity "${options[@]}" || return 1
  ninja -C "$directory" "$@"
}

# gtest_run DIRECTORY NAME: one meson test; gtest's own summary lines are shown.
gtest_run() {
  local directory=$1 name=$2 label=$1-$2 status=0
  meson test -C "$directory" --no-rebuild --print-errorlogs --logbase "log-$label" "$name" || status=$?
  cp "$directory/meson-logs/log-$label.junit.xml" "$results/$label.xml" 2>/dev/null
  grep -E '^\[(==========|  PASSED  |  FAILED  |  SKIPPED )\]' "$directory/meson-logs/log-$label.txt" | grep -v Running | uniq
  record "$label" "$status" "$results/$label.xml"
  return $status
}

# pytest_run NAME SECONDS TESTS
pytest_run() {
  local name=$1 status=0
  # shellcheck disable=SC2086
  timeout -k 20 "$2" /usr/bin/python3 -m pytest -p no:cacheprovider --import-mode=importlib -ra --durations=10 \
    --junitxml="$results/$name.xml" -o junit_family=xunit1 ${PYTEST_ARGUMENTS:-} "$3" || status=$?
  [ $status -eq 124 ] && echo "tests/run.sh: $name took more than $2 s and was stopped" >&2
  record "$name" "$status" "$results/$name.xml"
  return $status
}

# One test case a fuzz target.
fuzz_run() {
  local status=0
  tests/fuzz.sh 10 | tee "$results/fuzz.txt" || status=$?
  {
    echo '<testsuite name="fuzz">'
    awk '/^fuzz: .* crashes=0$/ { printf "<testcase classname=\"fuzz\" name=\"%s\"/>\n", $2; next }
         /^fuzz: .* crashes=/ { printf "<testcase classname=\"fuzz\" name=\"%s\"><failure/></testcase>\n", $2 }' "$results/fuzz.txt"
    echo '</testsuite>'
  } >"$results/fuzz.xml"
  record fuzz "$status" "$results/fuzz.xml"
  return $status
}

wants() { case " $parts " in *" $1 "*) true ;; *) false ;; esac; }

timed packages config/packages.sh || exit 1

if wants unit || wants eal || wants functional || wants cni || wants murder; then
  timed build build_in build -- all || exit 1
fi
wants unit && timed unit gtest_run build unit
wants eal && timed eal gtest_run build eal
if wants functional || wants cni || wants murder; then
  [ "$(id -u)" = 0 ] || { echo "tests/run.sh: the functional and CNI tests make network namespaces; run this as root" >&2; exit 1; }
fi
wants functional && timed functional pytest_run functional 1800 tests/functional
wants cni && timed cni pytest_run cni 1200 tests/cni
if wants murder; then
  export PODWIRE_MURDER_ROUNDS=$rounds PODWIRE_MURDER_REPORT=$results/murder.txt
  timed "murder of $rounds" pytest_run murder $((120 + rounds * 20)) tests/functional/test_murder.py
fi
if wants sanitizers; then
  # No symbol of a sanitizer's runtime is in the libraries we link, hence b_lundef. -O0 without debug information
  # builds in a third of the time; it is the longest part of all. GCC warns of what the
  # sanitizers themselves put in (its manual says so at -fsanitize).
  if timed "build (ASan, UBSan)" build_in build-asan --buildtype=plain -Doptimization=0 -Db_sanitize=address,undefined \
    -Db_lundef=false -Dcpp_args=-Wno-maybe-uninitialized -- tests/unit/podwire-unit-tests tests/eal/podwire-eal-tests; then
    timed "unit under ASan and UBSan" gtest_run build-asan unit
    timed "eal under ASan and UBSan" gtest_run build-asan eal
  else
    crashed+=(--crashed build-asan)
  fi
  if timed "build (TSan)" build_in build-tsan --buildtype=plain -Doptimization=1 -Db_sanitize=thread -Db_lundef=false -- \
    tests/unit/podwire-race-tests; then
    timed "publisher and tables under TSan" gtest_run build-tsan races
  else
    crashed+=(--crashed build-tsan)
  fi
fi

wants fuzz && timed fuzz fuzz_run

section "time"
printf '%s\n' "${times[@]}"
printf '%5d s  in all\n' "$SECONDS"
section "result"
status=0
/usr/bin/python3 tests/support/summary.py tests/skips.txt "${crashed[@]}" "${reports[@]}" || status=$?
[ ! -f "$results/murder.txt" ] || cat "$results/murder.txt"
exit $status
