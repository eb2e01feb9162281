#!/bin/bash
# The one list of the Debian packages that Podwire needs, and the one place that installs them.
#
#   config/packages.sh [build] [run] [test] [peers]    installs what is missing (default: all but peers)
#   config/packages.sh --list [SET...]         prints the names only
#
# Nothing is downloaded when everything is there, so it is cheap to call first.
set -euo pipefail

# To compile: DPDK and the libraries in the README's dependency table.
build="build-essential pkg-config meson ninja-build ccache
  dpdk-dev libboost-program-options-dev nlohmann-json3-dev libspdlog-dev libsqlite3-dev libmnl-dev
  libyaml-cpp-dev
  libgtest-dev libgmock-dev libbenchmark-dev"
# To run a node (DPDK's drivers, nft for the NIC that the engine owns, IPAM plugins), and what the demo shows.
run="dpdk iproute2 ethtool nftables containernetworking-plugins iputils-ping iperf3 jq"
# What the tests call besides.
test="python3-pytest python3-scapy tcpdump strace sqlite3 podman runc busybox-static isc-dhcp-client
  clang libclang-rt-14-dev clang-format bash-completion util-linux procps qemu-system-x86 bird2"
# What benches measure Podwire against.
peers="openvswitch-switch-dpdk"

fail() {
  echo "packages.sh: $*" >&2
  exit 1
}

list_only=false
if [ "${1:-}" = --list ]; then
  list_only=true
  shift
fi
wanted=()
for set in "${@:-build run test}"; do
  for name in $set; do
    case "$name" in
      build | run | test | peers) read -ra packages -d '' <<<"${!name}" || true; wanted+=("${packages[@]}") ;;
      *) fail "no set \"$name\"; the sets are build, run, test and peers" ;;
    esac
  done
done

if $list_only; then
  printf '%s\n' "${wanted[@]}"
  exit
fi

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
  fail "this is no Debian system; install the equivalents of these yourself: ${wanted[*]}"

missing=()
installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^ii  *//p' || true)
for package in "${wanted[@]}"; do
  grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

release=$(. /etc/os-release && echo "${ID:-unknown} ${VERSION_ID:-}")
case "$release" in
  "debian 12") ;;
  debian* | ubuntu*) echo "packages.sh: built for Debian 12, this is $release; its packages are tried all the same" >&2 ;;
  *) fail "built for Debian 12, this is $release; install the equivalents of these yourself: ${missing[*]}" ;;
esac
[ "$(id -u)" = 0 ] || fail "missing: ${missing[*]}; run this as root: sudo $0"

echo "Installing ${#missing[@]} packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt_install() {
  apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 "${missing[@]}" >"$log" 2>&1
}
# The package index is fetched only when installing without it does not work: fresh images have none.
if ! apt_install; then
  apt-get update -o DPkg::Lock::Timeout=120 >"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    fail "apt-get update failed (above); the network or a mirror in /etc/apt/sources.list is needed for: ${missing[*]}"
  }
  apt_install || {
    tail -n 25 "$log" >&2
    fail "apt-get install failed (above) for: ${missing[*]}"
  }
fi
