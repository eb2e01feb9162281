// Documents for tests of control/config.hpp: a sound one, and what becomes of changed ones.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "control/config.hpp"

namespace podwire::control::tests {

inline Json sound() {
  return Json::parse(R"({
    "node": "node-a",
    "underlay": {"device": "eth0"},
    "domains": [{"name": "default", "vni": 1, "prefixes": ["10.244.1.0/24", "fd00:10:244:1::/64"], "host_access": true}],
    "peers": [{"name": "node-b", "address": "192.168.100.2", "domains": {"default": {"prefixes": ["10.244.2.0/24"]}}}]
  })");
}

inline Config parsed(const Json& document) {
  auto config = parse_config(document, "podwired.json");
  EXPECT_TRUE(config) << config.error().message;
  return config ? *config : Config{};
}

// The message with which `document` is refused.
inline std::string refusal(const Json& document) {
  auto config = parse_config(document, "podwired.json");
  EXPECT_FALSE(config);
  return config ? "" : config.error().message;
}

inline void expect_refused(const std::function<void(Json&)>& change, const std::string& expected) {
  auto document = sound();
  change(document);
  const auto message = refusal(document);
  EXPECT_NE(message.find(expected), std::string::npos) << "got: " << message << "\nwanted: " << expected;
  EXPECT_EQ(message.rfind("podwired.json: ", 0), 0u) << message;
}

}  // namespace podwire::control::tests
