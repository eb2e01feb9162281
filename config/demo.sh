#!/bin/bash
# Podwire in one command: two nodes in network namespaces, an engine and a control daemon on each, three pods a node
# through the CNI plugin; then pings, throughput, counters, and an explained packet.
#
#   sudo ./config/demo.sh          runs the demo and removes everything
#   sudo ./config/demo.sh --keep   leaves it running and says how to look around
#   sudo ./config/demo.sh --down   removes what --keep left
set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repo"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8

work=/run/podwire-demo
build=${PODWIRE_BUILD_DIR:-$repo/build}
podwirectl=$build/control/cli/podwirectl
declare -A number=([a]=1 [b]=2)

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }
if [ -t 1 ]; then bold=$'\033[1m' dim=$'\033[2m' green=$'\033[32m' red=$'\033[31m' plain=$'\033[0m'; else bold='' dim='' green='' red='' plain=''; fi
step() { printf '\n%s[%3d s] %s%s\n' "$bold" "$SECONDS" "$1" "$plain"; }
note() { printf '%s        %s%s\n' "$dim" "$1" "$plain"; }
fail() {
  printf '%sdemo.sh: %s%s\n' "$red" "$*" "$plain" >&2
  exit 1
}

keep=false down_only=false
case "${1:-}" in
  '') ;;
  --keep) keep=true ;;
  --down) down_only=true ;;
  -h | --help) usage; exit ;;
  *) usage >&2; fail "unknown option $1" ;;
esac
[ "$(id -u)" = 0 ] || fail "network namespaces need root: sudo $0 $*"

netns_list() { ip netns list 2>/dev/null | sed -n 's/^\(podwire-demo-[^ ]*\).*/\1/p'; }

# Everything the demo made lives in its namespaces and in $work, so removing those is removing all.
down() {
  local ns pids signal
  # Asked for up to 5 s, podwired and then the engine it watched; then told.
  for signal in {1..50} KILL; do
    pids=$(for ns in $(netns_list); do ip netns pids "$ns"; done 2>/dev/null)
    [ -n "$pids" ] || break
    [ "$signal" = KILL ] || [ $((signal % 10)) -eq 1 ] || { sleep 0.1; continue; }
    xargs -r kill "-${signal/[0-9]*/TERM}" <<<"$pids" 2>/dev/null || true
    sleep 0.1
  done
  for ns in $(netns_list); do ip netns del "$ns"; done
  rm -rf "$work"
}

if $down_only; then
  down
  echo "The demo is gone."
  exit
fi

finish() {
  local status=$?
  trap - EXIT INT TERM
  if [ $status -ne 0 ] && [ $status -lt 128 ]; then
    for log in "$work"/*/podwired.log; do
      [ -f "$log" ] || continue
      printf '\n%slast lines of %s:%s\n' "$red" "$log" "$plain" >&2
      tail -n 15 "$log" >&2
    done
  fi
  if [ $status -ne 0 ] || ! $keep; then
    step "Removing everything"
    down
  fi
  exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step "Packages"
config/packages.sh build run
note "build tools, DPDK, iproute2, ethtool, iperf3, jq: there"

step "Build"
[ -f "$build/build.ninja" ] || meson setup --unity=on -Dunity_size=8 "$build"  # half the time
ninja -C "$build" dataplane/podwire-engine control/podwired control/cli/podwirectl cni-shim/podwire

step "Two nodes"
down
install -d -m 0700 "$work"
for node in a b; do
  ns=podwire-demo-$node
  ip netns add "$ns"
  ip -n "$ns" link set lo up
done
ip link add eth0 netns podwire-demo-a type veth peer name eth0 netns podwire-demo-b
for node in a b; do
  ns=podwire-demo-$node n=${number[$node]}
  # A veth hands AF_XDP frames with unfinished checksums unless told not to.
  ip netns exec "$ns" ethtool -K eth0 tx off tso off gso off >/dev/null
  ip -n "$ns" addr add "192.168.100.$n/24" dev eth0
  ip -n "$ns" addr add "fd00:100::$n/64" dev eth0 nodad
  ip -n "$ns" link set eth0 up
done
note "namespaces podwire-demo-a (192.168.100.1) and podwire-demo-b (192.168.100.2), joined by a veth pair: the underlay"

write_config() {
  local node=$1 n=${number[$1]} other=$2 m=${number[$2]} dir=$work/$1
  install -d -m 0700 "$dir"
  cat >"$dir/engine.json" <<JSON
{ "socket": "$dir/engine.sock", "memory_mib": 128, "file_prefix": "podwire-demo-$node" }
JSON
  cat >"$dir/podwired.json" <<JSON
{
  "node": "node-$node",
  "state_dir": "$dir/state",
  "control_socket": "$dir/control.sock",
  "engine": { "socket": "$dir/engine.sock", "spawn": true, "binary": "$build/dataplane/podwire-engine", "config": "$dir/engine.json" },
  "underlay": { "device": "eth0", "driver": "af_xdp", "host_interface": "podwire0" },
  "domains": [ { "name": "default", "vni": 1, "mode": "l3", "host_access": true,
                 "prefixes": ["10.244.$n.0/24", "fd00:10:244:$n::/64"] } ],
  "cluster": "local",
  "peers": [ { "name": "node-$other", "address": "192.168.100.$m",
               "domains": { "default": { "prefixes": ["10.244.$m.0/24", "fd00:10:244:$m::/64"] } } } ]
}
JSON
  cat >"$dir/cni.conf" <<JSON
{ "cniVersion": "1.1.0", "name": "podwire-demo", "type": "podwire", "socket": "$dir/control.sock" }
JSON
}
write_config a b
write_config b a

step "An engine and a control daemon on each node"
for node in a b; do
  setsid ip netns exec "podwire-demo-$node" "$build/control/podwired" --config "$work/$node/podwired.json" \
    >"$work/$node/podwired.log" 2>&1 </dev/null &
done
ctl() { "$podwirectl" --socket "$work/$1/control.sock" "${@:2}"; }
for node in a b; do
  for attempt in $(seq 150); do
    [ "$(ctl "$node" status --json 2>/dev/null | jq -r .engine.connected 2>/dev/null)" = true ] && break
    [ -n "$(ip netns pids "podwire-demo-$node")" ] || fail "podwired of node-$node ended"
    [ "$attempt" -lt 150 ] || fail "node-$node is not ready after 15 s"
    sleep 0.1
  done
  memory=$(ctl "$node" status --json | jq -r '.engine.memory.mode')
  note "node-$node: podwired started podwire-engine, which took eth0 over AF_XDP ($memory); the node's own addresses are on podwire0 now"
done

step "Three pods on each node, through the CNI plugin"
declare -A ip4 ip6
cni() {  # cni COMMAND NODE POD
  CNI_COMMAND=$1 CNI_CONTAINERID=podwire-demo-$3 CNI_NETNS=/run/netns/podwire-demo-$3 CNI_IFNAME=eth0 \
    CNI_PATH=$build/cni-shim "$build/cni-shim/podwire" <"$work/$2/cni.conf"
}
for node in a b; do
  for i in 1 2 3; do
    pod=$node$i
    ip netns add "podwire-demo-$pod"
    ip -n "podwire-demo-$pod" link set lo up
    result=$(cni ADD "$node" "$pod") || fail "CNI ADD of pod $pod: $result"
    ip4[$pod]=$(jq -r '[.ips[].address | select(contains(":") | not)][0] | split("/")[0]' <<<"$result")
    ip6[$pod]=$(jq -r '[.ips[].address | select(contains(":"))][0] | split("/")[0]' <<<"$result")
    note "pod $pod on node-$node: ${ip4[$pod]}  ${ip6[$pod]}"
  done
done

step "Ping, every pod to every pod, IPv4 and IPv6"
pods=(a1 a2 a3 b1 b2 b3)
for from in "${pods[@]}"; do
  for to in "${pods[@]}"; do
    [ "$from" != "$to" ] || continue
    for address in "${ip4[$to]}" "${ip6[$to]}"; do
      (ip netns exec "podwire-demo-$from" ping -n -q -c 1 -W 3 "$address" >/dev/null 2>&1 || echo "$from $to $address" >>"$work/lost") &
      pings+=($!)
    done
  done
done
wait "${pings[@]}"
printf '          '
printf '%-7s' "${pods[@]}"
echo
for from in "${pods[@]}"; do
  printf '     %-4s' "$from"
  for to in "${pods[@]}"; do
    if [ "$from" = "$to" ]; then printf ' %-6s' .
    elif grep -q "^$from $to " "$work/lost" 2>/dev/null; then printf ' %s%-6s%s' "$red" "lost" "$plain"
    else printf ' %s%-6s%s' "$green" "4 6" "$plain"; fi
  done
  echo
done
[ ! -s "$work/lost" ] || fail "$(wc -l <"$work/lost") of 60 pings were lost"
note "60 of 60 answered; a↔b crosses the underlay in VXLAN, VNI 1"

throughput() {  # throughput TITLE FROM TO
  local server mbit
  ip netns exec "podwire-demo-$3" iperf3 -s -1 --forceflush >"$work/iperf" 2>&1 &
  server=$!
  for _ in $(seq 50); do grep -q listening "$work/iperf" && break || sleep 0.05; done
  mbit=$(ip netns exec "podwire-demo-$2" iperf3 -c "${ip4[$3]}" -t 3 -J | jq '.end.sum_received.bits_per_second / 1e6 | floor')
  wait $server
  printf '        %-46s %6d Mbit/s\n' "$1 ($2 → $3)" "$mbit"
}
step "TCP, one stream, 3 s each"
throughput "same node" a1 a2
throughput "across nodes, through VXLAN" a1 b1
note "pods hand over packets of up to 64 KiB: on one node they stay whole, for the tunnel the engine cuts them to 1450 bytes"

step "What the engine of node-a counted (podwirectl stats)"
ctl a stats
note "the drops are the pods' multicast announcements: a routed domain (mode l3) floods nothing"

step "Where would a packet go? (podwirectl explain)"
note "podwirectl explain --from ${ip4[a1]} --to ${ip4[b1]} --proto tcp --dport 443"
ctl a explain --from "${ip4[a1]}" --to "${ip4[b1]}" --proto tcp --dport 443

if $keep; then
  step "It stays. To look around:"
  cat <<TEXT

  sudo ip netns exec podwire-demo-a1 ping ${ip4[b1]}          a pod of node-a pings one of node-b
  sudo ip netns exec podwire-demo-a bash                      a shell on node-a (its own interface is podwire0)
  sudo $podwirectl --socket $work/a/control.sock status
  sudo $podwirectl --socket $work/a/control.sock stats --watch 1
  less $work/a/podwired.log

  The engine may die; podwired starts another and pods keep their connections:
  sudo kill -9 \$(sudo $podwirectl --socket $work/a/control.sock status --json | jq .engine.pid)

  sudo ./config/demo.sh --down                                removes everything
TEXT
else
  step "Pods leave, through the CNI plugin"
  for node in a b; do
    for i in 1 2 3; do cni DEL "$node" "$node$i" || fail "CNI DEL of pod $node$i"; done
    note "node-$node: $(ctl "$node" status --json | jq -r '"\(.counts.attachments) attachments left, \(.differences | length) differences"')"
  done
fi
