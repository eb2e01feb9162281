// ExpressLane: what pipeline/express.hpp knows of one burst from one port, of a pod or (kTunnel) of the
// underlay, while it serves it. On the worker's own stack.
#pragma once

#include "dataplane/packet/flow_hash.hpp"
#include "dataplane/packet/plain_frame.hpp"
#include "dataplane/pipeline/express_nat.hpp"
#include "dataplane/pipeline/express_routed.hpp"
#include "dataplane/pipeline/express_way.hpp"
#include "dataplane/tunnels/vxlan.hpp"

namespace podwire::engine {

template <bool kTunnel>
class ExpressLane {
 public:
  ExpressLane(Context& ctx, const PacketMeta& first) noexcept
      : ctx_(ctx), tables_(*ctx.tables), ingress_(first.ingress), domain_of_port_(first.domain) {
    if constexpr (kTunnel)
      prepare_tunnel();
    else
      prepare_pod();
  }

  // Whether the port's packets may be for the lane at all.
  bool open() const noexcept { return pattern_count_ != 0; }

  // Passes one and two. False when nothing in the burst is for the lane.
  bool recognise(const Burst& burst) noexcept {
    // One pass where the tables are in the cache; else every look-up's memory is asked for first.
    const bool any = tables_.fdb->bytes() + tables_.fib4->bytes() <= kCached ? recognise<true>(burst)
                                                                             : recognise<false>(burst);
    if (marks_ && any) [[unlikely]]
      mark(burst);
    return any;
  }

  bool knows(std::uint16_t i) const noexcept { return plans_[i].slot != 0; }

  // Pass three: serves packets from `i` on, up to one that is for the stages, which stays as it came. Returns
  // the index of that one.
  std::uint16_t serve(const Burst& burst, std::uint16_t i) noexcept {
    if (!kTunnel && (translates_ || answers_)) [[unlikely]] {
      while (i < burst.count && serve_apart(burst.mbufs[i], i)) ++i;
    } else {
      while (i < burst.count && serve(burst.mbufs[i], plans_[i])) ++i;
    }
    way_.leave(ingress_);
    book_moved();
    return i;
  }

 private:
  static constexpr std::size_t kPatterns = 4;         // a port with more sources takes the stages' way
  static constexpr std::size_t kCached = 128 * 1024;  // bytes of tables
  static constexpr std::size_t kUdpLength = 38, kUdpChecksum = 40, kVxlanFlags = 42, kVni = 46;
  // What decap takes off: Ethernet, IPv4, UDP, VXLAN.
  static constexpr std::uint16_t kOuter = kTunnel ? 50 : 0;

  // What is known of one packet between the passes.
  struct Plan {
    std::uint32_t slot;  // adjacency; 0: for the stages
    bool routed;
    bool wanted;      // to be looked up in a table
    bool tracked;     // to be looked up among the connections
    bool entered;     // from the uplink, for a pod that is reached without a tunnel
    bool translated;  // with `tracked`: the connection has other ends
    const DomainEntry* domain;
    std::uint64_t key;
    std::uint64_t hash;
  };

  // The pod's sources (guard).
  void prepare_pod() noexcept {
    const auto* port = tables_.port(ingress_);
    domain_ = tables_.domain(domain_of_port_);
    if (port == nullptr || domain_ == nullptr || port->vlan != 0 || !serves(*domain_) ||
        port->sources4.size() > kPatterns)
      return;
    if (port->role == api::PortRole::kUplink) return prepare_answers();
    marks_ = domain_->marks();
    for (const auto& source : port->sources4) {
      auto& pattern = patterns_[pattern_count_++];
      pattern = plain_pattern();
      const std::uint64_t mac = __builtin_bswap64(source.mac) >> 16;
      pattern.require(plain::kSourceMac, &mac, sizeof(MacAddr));
      std::memcpy(pattern.value + plain::kSource, &source.network, sizeof source.network);
      std::memcpy(pattern.mask + plain::kSource, &source.mask, sizeof source.mask);
      if (~source.mask != 0 || !is_plain_address(__builtin_bswap32(source.network)))
        sources_are_plain_ = false;
    }
    remember(*domain_);
  }

  // What comes from outside without a tunnel: connections that are translated, and what is for pods that are
  // reached so.
  void prepare_answers() noexcept {
    answers_ = true;
    patterns_[0] = plain_pattern();
    pattern_count_ = 1;
    remember(*domain_);
  }

  void prepare_tunnel() noexcept {
    const auto* port = tables_.port(ingress_);
    if (port == nullptr || port->vlan != 0 || tables_.local_vteps.empty()) return;
    local_ = &tables_.local_vteps.front();
    if (!local_->address.is_v4()) return;
    const auto address = local_->address.v4();
    const Be16 udp_port(local_->udp_port);
    constexpr std::uint8_t kZero[2] = {0, 0};
    constexpr std::size_t kSecond = sizeof outer_.value;  // where outer_rest_ begins
    outer_ = plain_pattern();
    outer_.require_byte(plain::kProtocol, ip_proto::kUdp);
    outer_.require(plain::kDestination, address.bytes.data(), 2);
    outer_rest_.clear();
    outer_rest_.require(0, address.bytes.data() + 2, 2);
    outer_rest_.require(plain::kDestinationPort - kSecond, &udp_port, 2);
    outer_rest_.require(kUdpChecksum - kSecond, kZero, 2);
    outer_rest_.require_byte(kVxlanFlags - kSecond, VxlanHeader::kVniValid, VxlanHeader::kVniValid);
    patterns_[0] = plain_pattern();
    pattern_count_ = 1;
    sources_are_plain_ = false;
  }

  static bool serves(const DomainEntry& domain) noexcept { return !domain.learning; }

  // What recognise() needs of a domain for every packet.
  void remember(const DomainEntry& domain) noexcept {
    domain_ = &domain;
    tracks_ = domain.stateful || answers_;
    gateway_ = fdb_key(domain.id, domain.gateway_mac).word;
    if (kTunnel) own_ = fdb_key(domain.id, local_->mac).word;
    domain_bits_ = fdb_domain_bits(domain.id);
    length_ = domain.fib4_lengths == 0 ? -1 : 63 - __builtin_clzll(domain.fib4_lengths);
    mask_ = length_ <= 0 ? 0 : ~std::uint32_t{0} << (32 - length_);
  }

  template <bool kAtOnce>
  bool recognise(const Burst& burst) noexcept {
    std::uint32_t any = 0, tracked = 0;
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      auto& plan = plans_[i];
      plan.slot = 0;
      plan.wanted = plan.tracked = false;
      if (!is_plain(burst.mbufs[i])) continue;
      if (!kTunnel && answers_) {
        any |= recognise_arrival(burst.mbufs[i], plan);
        tracked += plan.tracked;
      } else if (tracks_) {
        plan.domain = domain_;
        plan.tracked = true;
        ++tracked;
      } else {
        plan.wanted = choose_table<kAtOnce>(burst.mbufs[i], plan);
      }
      any |= plan.wanted;
    }
    if (!kAtOnce && any != 0) look_up(burst.count);
    if (tracked != 0) any |= look_up_connections(burst);
    return any != 0;
  }

  // What the uplink brings without a tunnel: for a pod that is reached so, or else perhaps an answer to a
  // connection that is translated. Whether it is known already where it goes.
  [[gnu::noinline]] bool recognise_arrival(const rte_mbuf* mbuf, Plan& plan) const noexcept {
    const auto* frame = frame_of(mbuf);
    if (may_be_martian(tables_, frame)) [[unlikely]]
      return false;
    const auto* domain = plain_entry(tables_, frame, tables_.port(ingress_)->mac);
    plan.entered = plan.routed = domain != nullptr;
    plan.domain = plan.entered ? domain : domain_;
    plan.tracked = plan.entered ? domain->stateful : tables_.translates;
    if (plan.entered && !plan.tracked) plan.slot = plain_entry_slot(tables_, *domain, frame);
    return plan.slot != 0;
  }

  [[gnu::always_inline]] bool is_plain(const rte_mbuf* mbuf) noexcept {
    const auto* frame = rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
    const std::uint32_t length = mbuf->data_len;
    if (!is_simple(mbuf) || length < kOuter + kPlainHeaders) return false;
    if (kTunnel && !(is_ours(frame, length) && sender_is_known(frame) && find_domain(frame + kVni)))
      return false;
    return is_owned(frame + kOuter) && rest_is_plain(frame + kOuter, length - kOuter);
  }

  // What the guard stage does with packets that pass. The stages may mark one again: it stays as it is.
  [[gnu::cold, gnu::noinline]] void mark(const Burst& burst) const noexcept {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      if (knows(i)) mark_plain(rte_pktmbuf_mtod(burst.mbufs[i], std::uint8_t*), *domain_);
    }
  }

  bool is_owned(const std::uint8_t* frame) const noexcept {
    if (patterns_[0].matches(frame)) [[likely]]
      return true;
    for (std::size_t i = 1; i < pattern_count_; ++i) {
      if (patterns_[i].matches(frame)) return true;
    }
    return false;
  }

  // VXLAN over IPv4 to our VTEP that ends where the frame ends, and met no congestion: its ECN is that of the
  // packet in it, or as harmless as none.
  bool is_ours(const std::uint8_t* outer, std::uint32_t length) const noexcept {
    return outer_.matches(outer) && outer_rest_.matches(outer + sizeof outer_.value) &&
           load_be16(outer + plain::kTotal) + plain::kIp == length &&
           load_be16(outer + kUdpLength) + plain::kL4 == length &&
           ((outer[plain::kTos] & 1) == 0 ||
            ((outer[plain::kTos] ^ outer[kOuter + plain::kTos]) & kEcnMask) == 0) &&
           plain_checksum_is_right(outer + plain::kIp);
  }

  bool sender_is_known(const std::uint8_t* outer) noexcept {
    std::uint32_t word;
    std::memcpy(&word, outer + plain::kSource, sizeof word);
    if (word == sender_) [[likely]]
      return true;
    Ipv4 address;
    std::memcpy(address.bytes.data(), &word, sizeof word);
    if (tables_.vtep4->find(vtep4_key(address, local_->udp_port)) == 0) return false;
    sender_ = word;
    return true;
  }

  bool find_domain(const std::uint8_t* at) noexcept {
    const std::uint32_t vni = load_be32(at) >> 8;
    if (vni == vni_) [[likely]]
      return true;
    const auto id = static_cast<std::uint16_t>(tables_.vni_to_domain->find({vni}));
    const auto* domain = tables_.domain(DomainId(id));
    if (domain == nullptr || !serves(*domain)) return false;
    vni_ = vni;
    remember(*domain);
    return true;
  }

  // Which table decides, and the key in it. False: the stages decide.
  template <bool kAtOnce>
  [[gnu::always_inline]] bool choose_table(const rte_mbuf* mbuf, Plan& plan) const noexcept {
    const auto* frame = rte_pktmbuf_mtod_offset(mbuf, const std::uint8_t*, kOuter);
    Key64 key = fdb_key_of(domain_bits_, frame);
    plan.domain = domain_;
    plan.routed = key.word == gateway_ || (kTunnel && key.word == own_);
    const LookupTable<Key64>* table = tables_.fdb;
    if (plan.routed) {
      const std::uint32_t address = load_be32(frame + plain::kDestination);
      if (!is_plain_address(address) || length_ < 0 || frame[plain::kTtl] <= 1 ||
          !(sources_are_plain_ || is_plain_address(load_be32(frame + plain::kSource))))
        return false;
      key = fib4_key(domain_->id, address & mask_, length_);
      table = tables_.fib4;
    }
    const auto hash = key.hash();
    if constexpr (kAtOnce) {
      plan.slot = find(*table, key, hash, plan);
      return plan.slot != 0;
    } else {
      plan.key = key.word;
      plan.hash = hash;
      table->prefetch(hash);
      return true;
    }
  }

  void look_up(std::uint16_t count) noexcept {
    for (std::uint16_t i = 0; i < count; ++i) {
      auto& plan = plans_[i];
      if (!plan.wanted) continue;
      plan.slot = find(plan.routed ? *tables_.fib4 : *tables_.fdb, {plan.key}, plan.hash, plan);
      __builtin_prefetch(&tables_.adjacencies[plan.slot]);
    }
  }

  static const std::uint8_t* frame_of(const rte_mbuf* mbuf) noexcept {
    return rte_pktmbuf_mtod_offset(mbuf, const std::uint8_t*, kOuter);
  }

  // Packets of stateful domains, up to the first of the burst that is for the stages: it may change what the
  // others mean. Whether there is any.
  [[gnu::noinline]] bool look_up_connections(const Burst& burst) noexcept {
    if (ctx_.flows == nullptr) return false;
    std::array<FlowKey, kBurstMax> keys;
    std::array<FlowRef, kBurstMax> found;
    std::uint16_t count = 0;
    for (std::uint16_t i = 0; i < burst.count && (plans_[i].tracked || plans_[i].slot != 0); ++i) {
      if (plans_[i].tracked)
        keys[count++] = plain_connection_key(frame_of(burst.mbufs[i]), plans_[i].domain->id);
    }
    ctx_.flows->find_burst({keys.data(), count}, {found.data(), count});
    std::uint16_t known = 0;
    for (std::uint16_t i = 0; known < count; ++i) {
      auto& plan = plans_[i];
      if (!plan.tracked) continue;
      const auto* frame = frame_of(burst.mbufs[i]);
      const MacAddr destination = reinterpret_cast<const EtherHeader*>(frame)->destination;
      const bool to_gateway =
          destination == plan.domain->gateway_mac || (kTunnel && destination == local_->mac) || entered(plan);
      FlowView view;
      if (!found[known] || !ctx_.flows->read(found[known], view) || view.decision.adjacency == 0) break;
      plan.translated = view.decision.translated;
      if (!plan.translated) {
        if (!follow_connection(ctx_, frame, found[known], view, *plan.domain, to_gateway)) break;
      } else {
        if (kTunnel || entered(plan) ||
            !follow_translated(ctx_, frame, keys[known], found[known], view, leaving_[i]))
          break;
        translates_ = true;
      }
      plan.slot = view.decision.adjacency;
      plan.routed = view.decision.routed;
      ++known;
    }
    return known != 0;
  }

  bool entered(const Plan& plan) const noexcept { return !kTunnel && answers_ && plan.entered; }

  [[gnu::always_inline]] std::uint32_t find(const LookupTable<Key64>& table, const Key64& key,
                                            std::uint64_t hash, const Plan& plan) const noexcept {
    const auto slot = table.find_hashed(key, hash);
    if (slot == 0 && plan.routed) [[unlikely]]
      return shorter_match(tables_, *plan.domain, key.word);
    return slot;
  }

  // The same for a packet whose connection has other ends, `leaving`; from a pod, or an answer.
  [[gnu::noinline]] bool serve_translated(rte_mbuf* mbuf, const Plan& plan,
                                          const PlainLeaving& leaving) noexcept {
    const auto& adjacency = tables_.adjacencies[plan.slot];
    const bool outside = adjacency.kind == Adjacency::Kind::kUnderlay;
    if (!outside && leaving.domain != domain_ && !answers_ && !domain_->joined) return false;
    if (adjacency.place() != way_.place || leaving.domain != way_.domain) {
      way_.leave(ingress_);
      way_.find(ctx_, adjacency, *leaving.domain, true);
    }
    if (mbuf->data_len > way_.limit) return false;
    const bool tunnel = way_.vtep != nullptr && !outside;
    if (tunnel && mbuf->data_off < way_.vtep->header_bytes) return false;
    auto* frame = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    translate_plain(frame, leaving);
    route_plain(frame, adjacency.mac, leaving.domain->gateway_mac);
    if (tunnel)
      vxlan::put_before(mbuf, *way_.vtep, leaving.domain->vni, plain_hash(frame), frame[plain::kTos]);
    if (outside) std::memcpy(frame, way_.vtep->header.data(), 2 * sizeof(MacAddr));
    if (leaving.domain != domain_) count_moved(*leaving.domain);
    way_.append(mbuf);
    return true;
  }

  // The same for a packet from the uplink to a pod that is reached without a tunnel.
  [[gnu::noinline]] bool serve_entered(rte_mbuf* mbuf, const Plan& plan) noexcept {
    const auto& adjacency = tables_.adjacencies[plan.slot];
    if (adjacency.kind != Adjacency::Kind::kPort) return false;
    if (adjacency.place() != way_.place || plan.domain != way_.domain) {
      way_.leave(ingress_);
      way_.find(ctx_, adjacency, *plan.domain, false);
    }
    if (mbuf->data_len > way_.limit) return false;
    route_plain(rte_pktmbuf_mtod(mbuf, std::uint8_t*), adjacency.mac, plan.domain->gateway_mac);
    count_moved(*plan.domain);
    way_.append(mbuf);
    return true;
  }

  // A packet of a burst some of which are translated, or which the uplink brought without a tunnel.
  bool serve_apart(rte_mbuf* mbuf, std::uint16_t i) noexcept {
    const auto& plan = plans_[i];
    if (plan.slot == 0) return false;
    if (plan.tracked && plan.translated) return serve_translated(mbuf, plan, leaving_[i]);
    return answers_ ? serve_entered(mbuf, plan) : serve(mbuf, plan);
  }

  [[gnu::always_inline]] bool serve(rte_mbuf* mbuf, const Plan& plan) noexcept {
    if (plan.slot == 0) return false;
    auto* frame = rte_pktmbuf_mtod_offset(mbuf, std::uint8_t*, kOuter);
    const auto* to = &tables_.adjacencies[plan.slot];
    if (to->place() != way_.place || plan.domain != way_.domain) {
      if (to->kind == Adjacency::Kind::kMultipath) to = &path_of(tables_, *to, frame);
      way_.leave(ingress_);
      way_.find(ctx_, *to, *plan.domain, !kTunnel);
    }
    const auto& adjacency = *to;
    const std::uint32_t length = mbuf->data_len - std::uint32_t{kOuter};
    if (length > way_.limit) return false;
    if (way_.vtep != nullptr) {
      if (mbuf->data_off < way_.vtep->header_bytes) return false;
    } else if constexpr (kTunnel) {
      if (way_.joins_tcp && frame[plain::kProtocol] == ip_proto::kTcp) return false;
    } else if (!plan.routed && adjacency.port == ingress_) {
      return false;
    }
    if (plan.routed) route_plain(frame, adjacency.mac, plan.domain->gateway_mac);
    if constexpr (kTunnel) strip(mbuf, *plan.domain);
    if (way_.vtep != nullptr) put_outer(mbuf, frame, *plan.domain);
    way_.append(mbuf);
    return true;
  }

  // The tunnel's headers, or without one the next hop's MACs.
  [[gnu::always_inline]] void put_outer(rte_mbuf* mbuf, std::uint8_t* frame,
                                        const DomainEntry& domain) const noexcept {
    if (way_.vtep->direct) [[unlikely]]
      std::memcpy(frame, way_.vtep->header.data(), 2 * sizeof(MacAddr));
    else
      vxlan::put_before(mbuf, *way_.vtep, domain.vni, plain_hash(frame), frame[plain::kTos]);
  }

  void strip(rte_mbuf* mbuf, const DomainEntry& domain) noexcept {
    mbuf->data_off = static_cast<std::uint16_t>(mbuf->data_off + kOuter);
    mbuf->data_len = static_cast<std::uint16_t>(mbuf->data_len - kOuter);
    mbuf->pkt_len = mbuf->data_len;
    // What the NIC said of checksums was about the outer headers.
    mbuf->ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_IP_CKSUM_MASK);
    count_moved(domain);
  }

  void count_moved(const DomainEntry& domain) noexcept {
    if (&domain != moved_to_) {
      book_moved();
      moved_to_ = &domain;
    }
    ++moved_;
  }

  void book_moved() noexcept {
    if (moved_ == 0) return;
    ctx_.counters->domains[domain_of_port_.value()].moved_out.add(moved_);
    ctx_.counters->domains[moved_to_->id.value()].received.add(moved_);
    moved_ = 0;
  }

  Context& ctx_;
  const Snapshot& tables_;
  const PortId ingress_;
  const DomainId domain_of_port_;
  std::size_t pattern_count_ = 0;
  bool sources_are_plain_ = true;
  bool answers_ = false;     // the port is the uplink, and no tunnel is looked for
  bool tracks_ = false;      // connections decide
  bool translates_ = false;  // some of the burst's have other ends
  bool marks_ = false;       // the port's domain does
  const LocalVtep* local_ = nullptr;
  const DomainEntry* domain_ = nullptr;  // the port's, or the last VNI's
  std::uint64_t domain_bits_ = 0;        // of its FDB keys
  std::uint64_t gateway_ = 0, own_ = 0;  // FDB keys of its gateway's and the local VTEP's MAC
  int length_ = -1;                      // the longest of its IPv4 prefixes, -1: it has none
  std::uint32_t mask_ = 0;
  std::uint32_t vni_ = ~std::uint32_t{0};
  std::uint32_t sender_ = 0;  // no host has that address
  const DomainEntry* moved_to_ = nullptr;
  std::uint64_t moved_ = 0;
  ExpressWay way_;
  FrameMatch outer_, outer_rest_;  // bytes 0..31 and 32..63 of a tunnel packet to us
  std::array<FrameMatch, kPatterns> patterns_;
  std::array<Plan, kBurstMax> plans_;
  std::array<PlainLeaving, kTunnel ? 1 : kBurstMax> leaving_;  // of plans that are translated
};

}  // namespace podwire::engine
