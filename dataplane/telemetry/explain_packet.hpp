// The packet that `explain` asks about: read from the verb's parameters, completed with what the ingress port
// would send (its MAC, its endpoint's address, the gateway's MAC), and built as bytes. No mbufs in here. Main
// thread only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/json.hpp"
#include "dataplane/tables/intent.hpp"

namespace podwire::engine {

enum class ExplainProtocol { kIcmp, kIcmp6, kTcp, kUdp, kArp };

inline constexpr std::uint16_t kMaxExplainBytes =
    9216;  // of the IP packet; of the frame that is given in hex

struct ExplainRequest {
  PortId port;
  std::optional<std::vector<std::uint8_t>> frame;  // as it stands; then the rest is unused
  std::optional<IpAddr> source, destination;
  ExplainProtocol protocol = ExplainProtocol::kIcmp;
  std::uint16_t source_port = 40000, destination_port = 80;
  std::uint8_t ttl = 64;
  std::uint16_t size = 0;               // IP bytes; 0: the headers and a little payload
  MacAddr source_mac, destination_mac;  // zero: what the port would use
};

Result<ExplainRequest> read_explain(const Json& params);

// The frame as it enters at the port. `device_mac` is the ingress port's own (uplink: frames are addressed to
// it).
Result<std::vector<std::uint8_t>> build_explain_frame(const ExplainRequest& request, const Intent& intent,
                                                      const MacAddr& device_mac);

}  // namespace podwire::engine
