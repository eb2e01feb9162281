#include "dataplane/packet/dhcp6.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace podwire::engine {
namespace dhcp6 {
namespace {

using ByteSpan = std::span<const std::uint8_t>;

constexpr std::size_t kHeaderBytes = 4;  // type and transaction
constexpr std::size_t kMostDuidBytes = 130;
constexpr std::size_t kIaHeaderBytes = 12;  // IAID, T1, T2
constexpr std::size_t kIaAddressBytes = 24;
constexpr std::size_t kMostIas = 8;  // answered of one message
constexpr std::uint32_t kRenewSeconds = kLeaseSeconds / 2;
constexpr std::uint32_t kRebindSeconds = kLeaseSeconds / 10 * 8;

enum MessageType : std::uint8_t {
  kSolicit = 1,
  kAdvertise = 2,
  kRequest = 3,
  kConfirm = 4,
  kRenew = 5,
  kRebind = 6,
  kReply = 7,
  kRelease = 8,
  kDecline = 9,
  kInformation = 11,
};

enum Option : std::uint16_t {
  kClientId = 1,
  kServerId = 2,
  kIaNa = 3,
  kIaAddress = 5,
  kOptionRequest = 6,
  kPreference = 7,
  kStatus = 13,
  kRapidCommit = 14,
  kDns = 23,
  kSearch = 24,
  kIaPd = 25,
  kFqdn = 39,  // RFC 4704
};

enum Status : std::uint16_t { kSuccess = 0, kNoAddresses = 2, kNotOnLink = 4, kNoPrefixes = 6 };

struct Ia {
  Option kind = kIaNa;
  ByteSpan data;  // from its IAID on
};

struct Request {
  std::uint8_t type = 0;
  bool rapid_commit = false, has_fqdn = false;
  std::uint8_t fqdn_flags = 0;
  ByteSpan client_id, server_id, wanted;
  std::array<Ia, kMostIas> ias;
  std::size_t ia_count = 0;
};

// Calls visit(code, data) for every option; false when one leaves the field or visit says so.
template <class Visit>
bool each_option(ByteSpan field, Visit&& visit) noexcept {
  while (!field.empty()) {
    if (field.size() < 4) return false;
    const auto code = static_cast<std::uint16_t>(field[0] << 8 | field[1]);
    const auto length = static_cast<std::size_t>(field[2] << 8 | field[3]);
    if (field.size() - 4 < length || !visit(code, field.subspan(4, length))) return false;
    field = field.subspan(4 + length);
  }
  return true;
}

// What comes twice counts the first time, but for IAs.
bool note_option(std::uint16_t code, ByteSpan data, Request& out) noexcept {
  switch (code) {
    case kClientId:
    case kServerId: {
      auto& id = code == kClientId ? out.client_id : out.server_id;
      if (id.empty()) id = data;
      return !data.empty() && data.size() <= kMostDuidBytes;
    }
    case kIaNa:
    case kIaPd:
      if (data.size() < kIaHeaderBytes) return false;
      if (out.ia_count < kMostIas) out.ias[out.ia_count++] = {static_cast<Option>(code), data};
      return true;
    case kOptionRequest:
      if (out.wanted.empty()) out.wanted = data;
      return data.size() % 2 == 0;
    case kRapidCommit:
      out.rapid_commit = true;
      return data.empty();
    case kFqdn:
      if (data.empty()) return false;
      out.has_fqdn = true;
      out.fqdn_flags = data[0];
      return true;
    default:
      return true;
  }
}

// Calls visit(address) for the well-formed addresses of an IA_NA; false when one of them is malformed.
template <class Visit>
bool each_address(const Ia& ia, Visit&& visit) noexcept {
  return each_option(ia.data.subspan(kIaHeaderBytes), [&](std::uint16_t code, ByteSpan data) noexcept {
    if (code != kIaAddress) return true;
    if (data.size() < kIaAddressBytes) return false;
    Ipv6 address;
    std::memcpy(&address, data.data(), sizeof address);
    visit(address);
    return true;
  });
}

bool owns(const Lease& lease, const Ipv6& address) noexcept {
  return std::find(lease.addresses6.begin(), lease.addresses6.end(), address) != lease.addresses6.end();
}

std::array<std::uint8_t, 10> server_duid(const Lease& lease) noexcept {
  std::array<std::uint8_t, 10> duid{0, 3, 0, 1};  // DUID-LL, Ethernet (RFC 8415 section 11.4)
  std::copy(lease.gateway_mac.bytes.begin(), lease.gateway_mac.bytes.end(), duid.begin() + 4);
  return duid;
}

class Answer {
 public:
  Answer(const Request& request, const Lease& lease, std::span<std::uint8_t> room) noexcept
      : request_(request), lease_(lease), out_(room) {}

  bool begin(MessageType type, ByteSpan transaction) noexcept {
    const auto duid = server_duid(lease_);
    return out_.put8(type) && out_.put(transaction) && option(kServerId, duid) &&
           (request_.client_id.empty() || option(kClientId, request_.client_id));
  }
  bool option(Option code, ByteSpan data) noexcept {
    if (!out_.fits(4 + data.size())) return false;
    out_.put16(code);
    out_.put16(static_cast<std::uint16_t>(data.size()));
    return out_.put(data);
  }
  void status(Status code) noexcept {
    const auto data = Be16(code);
    option(kStatus, {reinterpret_cast<const std::uint8_t*>(&data), sizeof data});
  }
  // The addresses go to the first IA_NA; the others learn that there are none for them.
  void identity_associations() noexcept {
    bool given = false;
    for (std::size_t i = 0; i < request_.ia_count; ++i) {
      const auto& ia = request_.ias[i];
      if (ia.kind == kIaNa && !given && !lease_.addresses6.empty()) {
        given = addresses(ia);
      } else {
        empty(ia, ia.kind == kIaNa ? kNoAddresses : kNoPrefixes);
      }
    }
  }
  void configuration() noexcept {
    if (wanted(kDns) && !lease_.dns6.empty()) option(kDns, bytes_of<Ipv6>(lease_.dns6));
    if (wanted(kSearch) && !lease_.search.empty()) option(kSearch, lease_.search);
    if ((request_.has_fqdn || wanted(kFqdn)) && !lease_.hostname.empty()) host_name();
  }
  std::size_t size() const noexcept { return out_.size(); }

 private:
  bool wanted(Option code) const noexcept {
    for (std::size_t at = 0; at + 1 < request_.wanted.size(); at += 2) {
      if ((request_.wanted[at] << 8 | request_.wanted[at + 1]) == code) return true;
    }
    return false;
  }
  void address(const Ipv6& ip, std::uint32_t lifetime) noexcept {
    out_.put16(kIaAddress);
    out_.put16(kIaAddressBytes);
    out_.put_value(ip);
    out_.put32(lifetime);  // preferred
    out_.put32(lifetime);  // valid
  }
  // Whole or not at all. Addresses that the client had from elsewhere are taken back: lifetime 0 (RFC 8415
  // section 18.3.4).
  bool addresses(const Ia& ia) noexcept {
    const auto each = 4 + kIaAddressBytes;
    std::size_t strange = 0;
    const auto count = [&](const Ipv6& ip) noexcept { strange += owns(lease_, ip) ? 0 : 1; };
    const bool keeps = request_.type == kRenew || request_.type == kRebind;
    if (keeps) each_address(ia, count);
    std::size_t bytes = kIaHeaderBytes + each * lease_.addresses6.size();
    if (out_.fits(4 + bytes + each * strange)) bytes += each * strange;
    if (!out_.fits(4 + bytes)) return false;
    const bool take_back = bytes > kIaHeaderBytes + each * lease_.addresses6.size();
    out_.put16(kIaNa);
    out_.put16(static_cast<std::uint16_t>(bytes));
    out_.put(ia.data.first(4));
    out_.put32(kRenewSeconds);
    out_.put32(kRebindSeconds);
    for (const auto& ip : lease_.addresses6) address(ip, kLeaseSeconds);
    if (take_back) {
      each_address(ia, [&](const Ipv6& ip) noexcept {
        if (!owns(lease_, ip)) address(ip, 0);
      });
    }
    return true;
  }
  void empty(const Ia& ia, Status code) noexcept {
    constexpr std::size_t kBytes = kIaHeaderBytes + 6;
    if (!out_.fits(4 + kBytes)) return;
    out_.put16(ia.kind);
    out_.put16(kBytes);
    out_.put(ia.data.first(4));
    out_.put_zeros(8);
    status(code);
  }
  // A name without its domain, not terminated (RFC 4704 section 4.2): we register nothing in DNS (N),
  // whatever the client wished (S is overridden: O).
  void host_name() noexcept {
    constexpr std::uint8_t kServerUpdates = 1, kOverridden = 2, kNoUpdates = 4;
    std::array<std::uint8_t, 66> data{};
    data[0] = kNoUpdates | ((request_.fqdn_flags & kServerUpdates) != 0 ? kOverridden : 0);
    std::size_t size = 1;
    for (std::string_view rest = lease_.hostname; !rest.empty();) {
      const auto label = rest.substr(0, rest.find('.'));
      if (size + 1 + label.size() > data.size()) return;
      data[size++] = static_cast<std::uint8_t>(label.size());
      size += label.copy(reinterpret_cast<char*>(&data[size]), label.size());
      rest.remove_prefix(std::min(rest.size(), label.size() + 1));
    }
    option(kFqdn, {data.data(), size});
  }

  const Request& request_;
  const Lease& lease_;
  ByteWriter out_;
};

// What section 16 demands of each kind of message: which identifiers it must and must not have.
bool identifiers_right(const Request& request) noexcept {
  const bool client = !request.client_id.empty(), server = !request.server_id.empty();
  switch (request.type) {
    case kSolicit:
    case kConfirm:
    case kRebind:
      return client && !server;
    case kRequest:
    case kRenew:
    case kRelease:
    case kDecline:
      return client && server;
    case kInformation:
      return request.ia_count == 0;
    default:
      return false;
  }
}

bool ias_well_formed(const Request& request) noexcept {
  for (std::size_t i = 0; i < request.ia_count; ++i) {
    if (request.ias[i].kind == kIaNa && !each_address(request.ias[i], [](const Ipv6&) noexcept {}))
      return false;
  }
  return true;
}

// Of a CONFIRM: whether it has addresses at all, and whether all of them are the endpoint's.
struct Confirmed {
  bool any = false, all = true;
};
Confirmed confirm(const Request& request, const Lease& lease) noexcept {
  Confirmed out;
  for (std::size_t i = 0; i < request.ia_count; ++i) {
    if (request.ias[i].kind != kIaNa) continue;
    each_address(request.ias[i], [&](const Ipv6& address) noexcept {
      out.any = true;
      out.all = out.all && owns(lease, address);
    });
  }
  return out;
}

}  // namespace
}  // namespace dhcp6

Dhcp6Answer answer_dhcp6(std::span<const std::uint8_t> message, const Lease& lease,
                         std::span<std::uint8_t> room) noexcept {
  using namespace dhcp6;
  Dhcp6Answer out;
  if (message.size() < kHeaderBytes) return out;
  Request request;
  request.type = message[0];
  const bool readable = each_option(
      message.subspan(kHeaderBytes),
      [&](std::uint16_t code, ByteSpan data) noexcept { return note_option(code, data, request); });
  if (!readable || !identifiers_right(request) || !ias_well_formed(request)) return out;

  out.outcome = DhcpOutcome::kSilence;
  const auto duid = server_duid(lease);
  if (!request.server_id.empty() &&
      !std::equal(duid.begin(), duid.end(), request.server_id.begin(), request.server_id.end())) {
    return out;
  }
  const auto confirmed = request.type == kConfirm ? confirm(request, lease) : Confirmed{};
  if (request.type == kConfirm && !confirmed.any) return out;

  const bool advertise = request.type == kSolicit && !request.rapid_commit;
  Answer answer(request, lease, room);
  if (!answer.begin(advertise ? kAdvertise : kReply, message.subspan(1, 3))) return out;
  switch (request.type) {
    case kRelease:
    case kDecline:
      answer.status(kSuccess);
      break;
    case kConfirm:
      answer.status(confirmed.all ? kSuccess : kNotOnLink);
      break;
    default: {
      constexpr std::array<std::uint8_t, 1> kTakeMe{255};  // no need to wait for another (section 18.2.1)
      if (advertise) answer.option(kPreference, kTakeMe);
      if (request.type == kSolicit && request.rapid_commit) answer.option(kRapidCommit, {});
      answer.identity_associations();
      answer.configuration();
    }
  }
  out.bytes = answer.size();
  out.outcome = DhcpOutcome::kAnswer;
  return out;
}

}  // namespace podwire::engine
