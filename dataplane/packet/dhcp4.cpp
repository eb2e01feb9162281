#include "dataplane/packet/dhcp4.hpp"

#include <algorithm>
#include <array>

namespace podwire::engine {
namespace dhcp4 {
namespace {

using ByteSpan = std::span<const std::uint8_t>;

constexpr std::uint16_t kLeastMessage = 576;  // IP bytes that every client takes (RFC 2131 section 2)
constexpr std::uint16_t kIpUdpBytes = 28;
constexpr std::size_t kBootpBytes = 300;  // RFC 1542 section 2.1
constexpr std::size_t kMostOptionBytes = 255;

enum MessageType : std::uint8_t {
  kNoType = 0,  // BOOTP
  kDiscover = 1,
  kOffer = 2,
  kRequest = 3,
  kDecline = 4,
  kAck = 5,
  kNak = 6,
  kRelease = 7,
  kInform = 8,
};

enum Option : std::uint8_t {
  kPad = 0,
  kSubnetMask = 1,
  kRouter = 3,
  kDns = 6,
  kHostname = 12,
  kMtu = 26,
  kRequestedAddress = 50,
  kLeaseTime = 51,
  kOverload = 52,
  kMessageType = 53,
  kServer = 54,
  kParameters = 55,
  kMaxSize = 57,
  kRenewalTime = 58,
  kRebindingTime = 59,
  kClientId = 61,
  kSearch = 119,           // RFC 3397
  kClasslessRoutes = 121,  // RFC 3442
  kEnd = 255,
};

struct Request {
  std::uint8_t type = kNoType;
  std::uint8_t overload = 0;
  std::uint16_t max_size = kLeastMessage;
  Ipv4 requested, server;  // zero: not given
  ByteSpan client_id, parameters;
};

// A value of fixed length; false when it has another.
template <class T>
bool read_fixed(ByteSpan data, T& out) noexcept {
  static_assert(alignof(T) == 1);
  if (data.size() != sizeof(T)) return false;
  std::memcpy(&out, data.data(), sizeof out);
  return true;
}

// Of an option that comes twice the first counts. Long ones may be cut into several (RFC 3396); of those that
// matter here no client sends more than fits one.
bool note_option(std::uint8_t code, ByteSpan data, Request& out) noexcept {
  switch (code) {
    case kMessageType:
      return data.size() == 1 && (out.type != kNoType || read_fixed(data, out.type));
    case kOverload:
      return data.size() == 1 && read_fixed(data, out.overload) && out.overload >= 1 && out.overload <= 3;
    case kRequestedAddress:
      return data.size() == sizeof(Ipv4) && (!out.requested.is_zero() || read_fixed(data, out.requested));
    case kServer:
      return data.size() == sizeof(Ipv4) && (!out.server.is_zero() || read_fixed(data, out.server));
    case kMaxSize: {
      Be16 size;
      if (!read_fixed(data, size)) return false;
      out.max_size = std::max(kLeastMessage, size.host());
      return true;
    }
    case kClientId:
      if (out.client_id.empty()) out.client_id = data;
      return !data.empty();
    case kParameters:
      if (out.parameters.empty()) out.parameters = data;
      return !data.empty();
    default:
      return true;
  }
}

// One field of options. A missing end is forgiven, an option that leaves the field is not.
bool read_options(ByteSpan field, Request& out) noexcept {
  for (std::size_t at = 0; at < field.size();) {
    const auto code = field[at];
    if (code == kEnd) return true;
    if (code == kPad) {
      ++at;
      continue;
    }
    if (field.size() - at < 2) return false;
    const std::size_t length = field[at + 1];
    if (field.size() - at - 2 < length) return false;
    if (!note_option(code, field.subspan(at + 2, length), out)) return false;
    at += 2 + length;
  }
  return true;
}

// Options behind the header, then in the fields that "overload" lends them (RFC 2131 section 4.1).
bool read_request(ByteSpan message, const Dhcp4Header& header, Request& out) noexcept {
  if (!read_options(message.subspan(sizeof(Dhcp4Header)), out)) return false;
  const auto lent = out.overload;
  if ((lent & 1) != 0 && !read_options(header.file, out)) return false;
  return (lent & 2) == 0 || read_options(header.server_name, out);
}

class Reply {
 public:
  // Room for the end option is kept free.
  Reply(const Request& request, std::span<std::uint8_t> room) noexcept
      : request_(request), room_(room), out_(room.first(room.size() - 1)) {}

  bool header(const Dhcp4Header& header) noexcept { return out_.put_value(header); }
  void option(std::uint8_t code, ByteSpan data) noexcept {
    const std::size_t pieces = (data.size() + kMostOptionBytes - 1) / kMostOptionBytes;
    if (data.empty() || !out_.fits(data.size() + 2 * pieces)) return;
    while (!data.empty()) {  // RFC 3396
      const auto piece = data.first(std::min(data.size(), kMostOptionBytes));
      out_.put8(code);
      out_.put8(static_cast<std::uint8_t>(piece.size()));
      out_.put(piece);
      data = data.subspan(piece.size());
    }
  }
  template <class T>
  void value(std::uint8_t code, const T& data) noexcept {
    option(code, {reinterpret_cast<const std::uint8_t*>(&data), sizeof data});
  }
  // Whether the client asked for it; who gives no list asks for everything.
  bool wanted(std::uint8_t code) const noexcept {
    const auto& list = request_.parameters;
    return list.empty() || std::find(list.begin(), list.end(), code) != list.end();
  }
  std::size_t finish() noexcept {
    std::size_t size = out_.size();
    room_[size++] = kEnd;
    for (; size < kBootpBytes; ++size) room_[size] = kPad;
    return size;
  }

 private:
  const Request& request_;
  std::span<std::uint8_t> room_;
  ByteWriter out_;
};

Ipv4 mask_of(std::uint8_t length) noexcept {
  return Ipv4::from_u32(length == 0 ? 0 : ~std::uint32_t{0} << (32 - length));
}

void put_lease_times(Reply& reply) noexcept {
  reply.value(kLeaseTime, Be32(kLeaseSeconds));
  reply.value(kRenewalTime, Be32(kLeaseSeconds / 2));
  reply.value(kRebindingTime, Be32(kLeaseSeconds / 8 * 7));
}

void put_configuration(Reply& reply, const Lease& lease) noexcept {
  reply.value(kSubnetMask, mask_of(lease.length4));
  if (!lease.router4.is_zero()) {
    if (!lease.router_on_link()) {
      // The router by itself on link, everything else through it.
      std::array<std::uint8_t, 14> routes{};
      routes[0] = 32;
      std::memcpy(&routes[1], &lease.router4, sizeof(Ipv4));
      std::memcpy(&routes[10], &lease.router4, sizeof(Ipv4));
      reply.option(kClasslessRoutes, routes);
    }
    if (reply.wanted(kRouter)) reply.value(kRouter, lease.router4);
  }
  if (reply.wanted(kDns)) reply.option(kDns, bytes_of<Ipv4>(lease.dns4));
  if (reply.wanted(kMtu) && lease.mtu != 0) reply.value(kMtu, Be16(lease.mtu));
  if (reply.wanted(kHostname)) {
    reply.option(kHostname,
                 {reinterpret_cast<const std::uint8_t*>(lease.hostname.data()), lease.hostname.size()});
  }
  if (reply.wanted(kSearch)) reply.option(kSearch, lease.search);
}

// What the request is answered with; kNoType: silence.
MessageType answer_type(const Request& request, const Dhcp4Header& header, const Lease& lease) noexcept {
  switch (request.type) {
    case kDiscover:
      return kOffer;
    case kInform:
      return kAck;
    case kRequest: {
      if (!request.server.is_zero() && request.server != lease.server4) return kNoType;
      const auto& asked = request.requested.is_zero() ? header.client : request.requested;
      return asked == lease.address4 ? kAck : kNak;
    }
    default:
      return kNoType;
  }
}

bool from_client(std::uint8_t type) noexcept {
  return type != kOffer && type != kAck && type != kNak && type <= kInform;
}

Dhcp4Header reply_header(const Dhcp4Header& question, const Lease& lease, MessageType type,
                         bool inform) noexcept {
  Dhcp4Header header{};
  header.op = 2;
  header.hardware = question.hardware;
  header.hardware_length = question.hardware_length;
  header.transaction = question.transaction;
  header.flags = question.flags;
  header.mac = question.mac;
  header.magic = Be32(dhcp4::kMagic);
  if (type == kAck) header.client = question.client;
  if (type != kNak && !inform) header.yours = lease.address4;
  return header;
}

// RFC 2131 section 4.1.
void choose_destination(const Dhcp4Header& reply, MessageType type, Dhcp4Answer& out) noexcept {
  const bool all =
      type == kNak || (reply.client.is_zero() && (reply.flags.host() & dhcp4::kBroadcastFlag) != 0);
  out.to_all = all;
  out.destination = all ? Ipv4{{255, 255, 255, 255}} : reply.client.is_zero() ? reply.yours : reply.client;
}

}  // namespace
}  // namespace dhcp4

Dhcp4Answer answer_dhcp4(std::span<const std::uint8_t> message, const Lease& lease,
                         std::span<std::uint8_t> room) noexcept {
  using namespace dhcp4;
  Dhcp4Answer answer;
  Dhcp4Header question;
  if (message.size() < sizeof question || room.size() < kBootpBytes) return answer;
  std::memcpy(&question, message.data(), sizeof question);
  if (question.op != 1 || question.hardware != 1 || question.hardware_length != sizeof(MacAddr) ||
      question.magic != Be32(dhcp4::kMagic) || question.mac != lease.mac || !question.relay.is_zero()) {
    return answer;
  }
  Request request;
  if (!read_request(message, question, request) || !from_client(request.type)) return answer;
  const bool inform = request.type == kInform;
  if (inform && question.client.is_zero()) return answer;  // nowhere to send it
  answer.outcome = DhcpOutcome::kSilence;
  const auto type = lease.address4.is_zero() ? kNoType : answer_type(request, question, lease);
  if (type == kNoType) return answer;

  Reply reply(request, room.first(std::min<std::size_t>(room.size(), request.max_size - kIpUdpBytes)));
  const auto header = reply_header(question, lease, type, inform);
  reply.header(header);
  reply.value(kMessageType, type);
  reply.value(kServer, lease.server4);
  reply.option(kClientId, request.client_id);  // RFC 6842
  if (type != kNak) {
    if (!inform) put_lease_times(reply);
    put_configuration(reply, lease);
  }
  answer.bytes = reply.finish();
  choose_destination(header, type, answer);
  answer.outcome = DhcpOutcome::kAnswer;
  return answer;
}

}  // namespace podwire::engine
