# Sourced by scripts of bench/ that measure engines of their own: environment, packages, and a build for this machine in
# PODWIRE_BUILD_DIR, unless that names one already. $0 is the script; `needs_bench` names what it needs of bench/ itself.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
case " $* " in *" --help "* | *" -h "*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "bench/$(basename "$0")"; exit ;; esac
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
[ "$(id -u)" = 0 ] || { echo "$(basename "$0") makes network namespaces and real-time threads: run it as root" >&2; exit 1; }
{
  config/packages.sh
  if [ -z "${PODWIRE_BUILD_DIR:-}" ]; then
    [ -f build-bench/build.ninja ] || meson setup --unity=on -Dunity_size=8 -Dmarch=native -Dtests=false build-bench
    if [ -n "${needs_bench:-}" ] && ! grep -q "^build $needs_bench:" build-bench/build.ninja; then
      meson configure -Dbench=true build-bench
    fi
    ninja -C build-bench dataplane/podwire-engine ${needs_bench:-}
  fi
} >&2
PODWIRE_BUILD_DIR=$(realpath "${PODWIRE_BUILD_DIR:-build-bench}")
export PODWIRE_BUILD_DIR
