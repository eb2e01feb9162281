// A store in a directory of its own, with two domains of addresses.
#pragma once

#include <gtest/gtest.h>

#include "control/state/store.hpp"
#include "tests/unit/control/temporary_directory.hpp"

namespace podwire::control {

inline IpAddr ip_of(const char* text) {
  return *parse_ip(text);
}

inline std::vector<DomainPools> pools() {
  DomainPools domain{"default", 1450, {}};
  domain.pools.emplace_back(AddressPool::Spec{*parse_prefix("10.244.1.0/24"), ip_of("10.244.1.1"), {}, {}});
  domain.pools.emplace_back(AddressPool::Spec{*parse_prefix("fd00:1::/64"), ip_of("fd00:1::1"), {}, {}});
  DomainPools small{"small", 1450, {}};
  small.pools.emplace_back(AddressPool::Spec{*parse_prefix("10.9.0.0/30"), ip_of("10.9.0.1"), {}, {}});
  return {domain, small};
}

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() { open(); }
  // As a daemon does at its start.
  void open() {
    store_.reset();
    auto opened = Store::open(directory_.path() + "/state");
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(*opened);
    store_->set_domains(pools());
  }
  static AttachmentRequest request(const std::string& container, const std::string& domain = "default") {
    AttachmentRequest r;
    r.key = {"podwire", container, "eth0"};
    r.domain = domain;
    r.netns_path = "/run/netns/" + container;
    r.netns_device = 4;
    r.netns_inode = 0xf000000012345678;
    r.config_json = R"({"name": "podwire"})";
    return r;
  }
  Attachment add(const AttachmentRequest& r) {
    auto added = store_->begin_add(r);
    EXPECT_TRUE(added) << added.error().message;
    return added ? *added : Attachment{};
  }
  void expect_refused(const AttachmentRequest& r, ErrorCode code, const std::string& text) {
    auto added = store_->begin_add(r);
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, code) << added.error().message;
    EXPECT_NE(added.error().message.find(text), std::string::npos) << added.error().message;
  }
  void remove(const std::string& container) {
    ASSERT_TRUE(store_->begin_delete(request(container).key));
    ASSERT_TRUE(store_->finish_delete(request(container).key));
  }
  std::string database() const { return directory_.path() + "/state/podwire.db"; }

  TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
};

}  // namespace podwire::control
