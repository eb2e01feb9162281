// PortPicker: the outside ports that a connection behind a shared address may have, best first: its own where
// it is in the range, then others that depend on its source alone. So a source has the same outside port
// towards every destination as long as no other source is in its way there (endpoint-independent mapping, RFC
// 4787 section 4.1), on every worker, without a table of mappings. A pure value.
#pragma once

#include "dataplane/api/rules.hpp"
#include "dataplane/headers/headers.hpp"
#include "dataplane/tables/flow_key.hpp"
#include "dataplane/tables/lookup_table.hpp"

namespace podwire::engine {

class PortPicker {
 public:
  static constexpr std::uint32_t kTries = 64;

  PortPicker(const FlowKey& key, const api::PortRange& range) noexcept
      : own_(key.source_port()), first_(range.first), count_(std::uint32_t{range.last} - range.first + 1) {
    const auto protocol = key.protocol();
    const bool echo = (protocol == ip_proto::kIcmp || protocol == ip_proto::kIcmpv6) && key.ports() != 0;
    has_ports_ =
        echo || protocol == ip_proto::kTcp || protocol == ip_proto::kUdp || protocol == ip_proto::kSctp;
    own_fits_ = !has_ports_ || (own_ >= range.first && own_ <= range.last);
    auto hash = mix(key.words[0] & 0x00ff'ffff'0000'ffff);  // protocol, domain, source port
    hash = mix(hash ^ (key.is_v4() ? key.words[1] & 0xffff'ffff : key.words[1] ^ mix(key.words[2])));
    at_ = static_cast<std::uint32_t>(hash % count_);
  }

  // Puts the next candidate in `key`, as its source port or echo identifier. False: there are no more.
  bool next(FlowKey& key) noexcept {
    std::uint16_t port = own_;
    if (tried_ == 0 && own_fits_) {
      ++tried_;
    } else {
      if (!has_ports_ || tried_ >= kTries || walked_ == count_) return false;
      ++tried_;
      ++walked_;
      port = static_cast<std::uint16_t>(first_ + at_);
      at_ = at_ + 1 == count_ ? 0 : at_ + 1;
    }
    set_source_port(key, port);
    return true;
  }

 private:
  static void set_source_port(FlowKey& key, std::uint16_t port) noexcept {
    const std::uint32_t raw = byte_swap(port);
    const bool echo = key.protocol() == ip_proto::kIcmp || key.protocol() == ip_proto::kIcmpv6;
    key.set_ports(echo ? raw | raw << 16 : (key.ports() & 0xffff0000) | raw);
  }

  std::uint16_t own_;
  bool has_ports_, own_fits_;
  std::uint32_t first_, count_;
  std::uint32_t at_ = 0, tried_ = 0, walked_ = 0;
};

}  // namespace podwire::engine
