// EngineReconciler against an engine that only remembers.
#pragma once

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include "control/state/engine_reconciler.hpp"
#include "tests/unit/control/fake_engine.hpp"
#include "tests/unit/control/temporary_directory.hpp"

namespace podwire::control {

// In place of the descriptors of a tap.
inline std::vector<UniqueFd> make_queues(int count = 1) {
  std::vector<UniqueFd> fds;
  for (int i = 0; i < count; ++i) fds.emplace_back(::eventfd(0, EFD_CLOEXEC));
  return fds;
}

// A pod that is ready, with one address.
inline Attachment attachment(unsigned port) {
  Attachment a;
  a.key = {"net", "container" + std::to_string(port), "eth0"};
  a.state = AttachmentState::kReady;
  a.domain = "default";
  a.port = PortId(static_cast<std::uint16_t>(port));
  a.endpoint = EndpointId(port);
  a.mac = MacAddr::from_u64(0x020000000000 + port);
  a.addresses = {{IpAddr(Ipv4::from_u32(0x0af40000 + port)), 16}};
  a.mtu = 1450;
  return a;
}

class ReconcilerFixture : public ::testing::Test {
 protected:
  void TearDown() override { reconciler_.reset(); }

  // One domain, "default".
  static NodeObjects one_domain(bool stateful) {
    NodeObjects out;
    api::Domain domain;
    domain.id = DomainId(2);
    domain.name = "default";
    domain.gateway_mac = kGatewayMac;
    domain.stateful = stateful;
    out.objects.domains.push_back(domain);
    out.domains["default"] = domain.id;
    return out;
  }
  std::vector<std::string> differences() {
    auto found = reconciler_->differences();
    EXPECT_TRUE(found) << found.error().message;
    return found ? *found : std::vector<std::string>{};
  }

  TemporaryDirectory directory_;
  std::string socket_ = directory_.path() + "/engine.sock";
  FakeEngine engine_{socket_};
  std::unique_ptr<EngineReconciler> reconciler_;
};

}  // namespace podwire::control
