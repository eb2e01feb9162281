// ExpressFilter: which frames of one port, of a pod or (kTunnel) of the underlay, are plain
// (packet/plain_frame.hpp) and the guard's and decap's rules allow, and whose domain they are; the last one's
// facts are at hand. On the worker's own stack, for one burst.
#pragma once

#include <array>

#include "dataplane/packet/marking.hpp"
#include "dataplane/packet/plain_frame.hpp"
#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

template <bool kTunnel>
class ExpressFilter {
 public:
  // Whether the port's packets may be for the lane at all.
  bool open() const noexcept { return pattern_count_ != 0; }

 protected:
  // Of a prefix.
  struct Length {
    int length = -1;  // none
    std::uint32_t mask = 0;

    // `lengths` as DomainEntry::fib4_lengths.
    static Length longest(std::uint64_t lengths) noexcept {
      if (lengths == 0) return {};
      const int length = 63 - __builtin_clzll(lengths);
      return {length, length == 0 ? 0 : ~std::uint32_t{0} << (32 - length)};
    }
  };

  // What decap takes off: Ethernet, IPv4, UDP, VXLAN.
  static constexpr std::uint16_t kOuter = kTunnel ? 50 : 0;

  ExpressFilter(const Snapshot& tables, const PacketMeta& first) noexcept
      : tables_(tables), ingress_(first.ingress), domain_of_port_(first.domain) {
    if constexpr (kTunnel)
      prepare_tunnel();
    else
      prepare_pod();
  }

  [[gnu::always_inline]] bool is_plain(const rte_mbuf* mbuf) noexcept {
    const auto* frame = rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
    const std::uint32_t length = mbuf->data_len;
    if (!is_simple(mbuf) || length < kOuter + kPlainHeaders) return false;
    if (kTunnel && !(is_ours(frame, length) && sender_is_known(frame) && domain_is_known(frame + kVni)))
      return false;
    return is_owned(frame + kOuter) && rest_is_plain(frame + kOuter, length - kOuter);
  }

  const Snapshot& tables_;
  const PortId ingress_;
  const DomainId domain_of_port_;
  std::size_t pattern_count_ = 0;
  bool sources_are_plain_ = true;
  bool answers_ = false;  // the port is the uplink, and no tunnel is looked for
  bool tracks_ = false;   // connections decide
  bool marks_ = false;    // the port's domain does
  const LocalVtep* local_ = nullptr;
  const DomainEntry* domain_ = nullptr;  // the port's, or the last VNI's
  std::uint64_t domain_bits_ = 0;        // of its FDB keys
  std::uint64_t gateway_ = 0, own_ = 0;  // FDB keys of its gateway's and the local VTEP's MAC
  Length longest_, short_;               // of its IPv4 prefixes, and of those up to LongPrefixes::kShort

 private:
  static constexpr std::size_t kPatterns = 4;  // a port with more sources takes the stages' way
  static constexpr std::size_t kUdpLength = 38, kUdpChecksum = 40, kVxlanFlags = 42, kVni = 46;

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
    longest_ = Length::longest(domain.fib4_lengths);
    // What a routed domain does not know is asked of the underlay, with the whole address.
    short_ = domain.routed
                 ? longest_
                 : Length::longest(domain.fib4_lengths & ((std::uint64_t{2} << LongPrefixes::kShort) - 1));
  }

  [[gnu::always_inline]] bool is_owned(const std::uint8_t* frame) const noexcept {
    return patterns_[0].matches(frame) || (pattern_count_ > 1 && is_other_owned(frame));
  }

  [[gnu::noinline]] bool is_other_owned(const std::uint8_t* frame) const noexcept {
    for (std::size_t i = 1; i < pattern_count_; ++i) {
      if (patterns_[i].matches(frame)) return true;
    }
    return false;
  }

  // VXLAN over IPv4 to our VTEP that ends where the frame ends, and met no congestion: its ECN is that of the
  // packet in it, or as harmless as none.
  [[gnu::always_inline]] bool is_ours(const std::uint8_t* outer, std::uint32_t length) const noexcept {
    return outer_.matches(outer) && outer_rest_.matches(outer + sizeof outer_.value) &&
           load_be16(outer + plain::kTotal) + plain::kIp == length &&
           load_be16(outer + kUdpLength) + plain::kL4 == length &&
           ((outer[plain::kTos] & 1) == 0 ||
            ((outer[plain::kTos] ^ outer[kOuter + plain::kTos]) & kEcnMask) == 0) &&
           plain_checksum_is_right(outer + plain::kIp);
  }

  [[gnu::always_inline]] bool sender_is_known(const std::uint8_t* outer) noexcept {
    std::uint32_t word;
    std::memcpy(&word, outer + plain::kSource, sizeof word);
    return word == sender_ || find_sender(word);
  }

  [[gnu::noinline]] bool find_sender(std::uint32_t word) noexcept {
    Ipv4 address;
    std::memcpy(address.bytes.data(), &word, sizeof word);
    if (tables_.vtep4->find(vtep4_key(address, local_->udp_port)) == 0) return false;
    sender_ = word;
    return true;
  }

  [[gnu::always_inline]] bool domain_is_known(const std::uint8_t* at) noexcept {
    const std::uint32_t vni = load_be32(at) >> 8;
    return vni == vni_ || find_domain(vni);
  }

  [[gnu::noinline]] bool find_domain(std::uint32_t vni) noexcept {
    const auto id = static_cast<std::uint16_t>(tables_.vni_to_domain->find({vni}));
    const auto* domain = tables_.domain(DomainId(id));
    if (domain == nullptr || !serves(*domain)) return false;
    vni_ = vni;
    remember(*domain);
    return true;
  }

  std::uint32_t vni_ = ~std::uint32_t{0};
  std::uint32_t sender_ = 0;       // no host has that address
  FrameMatch outer_, outer_rest_;  // bytes 0..31 and 32..63 of a tunnel packet to us
  std::array<FrameMatch, kPatterns> patterns_;
};

}  // namespace podwire::engine
