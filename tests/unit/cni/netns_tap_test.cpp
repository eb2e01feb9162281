#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <fstream>

#include "control/cni/netns.hpp"
#include "control/cni/tap.hpp"
#include "control/netlink/netlink.hpp"
#include "tests/unit/netlink/private_netns.hpp"

namespace podwire::control {
namespace {

TEST(Netns, GuardEntersAndReturns) {
  const UniqueFd pod = make_netns();
  const auto before = current_netns_identity();
  std::thread([&] {
    const auto theirs = identity(pod.get());
    ASSERT_TRUE(theirs);
    {
      const auto guard = NetnsGuard::enter(pod.get());
      ASSERT_TRUE(guard);
      EXPECT_EQ(*current_netns_identity(), *theirs);
    }
    EXPECT_EQ(*current_netns_identity(), *before);
  }).join();
  EXPECT_EQ(*current_netns_identity(), *before);
}

TEST(Netns, RefusesWhatIsNone) {
  EXPECT_EQ(open_netns("/run/netns/no-such-namespace").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(open_netns("/etc/passwd").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(open_netns("/proc/self/ns/mnt").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE(open_netns("/proc/self/ns/net"));
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(check_is_netns(file.get()));
  EXPECT_FALSE(NetnsGuard::enter(file.get()));
}

class TapTest : public ::testing::Test {
 protected:
  void in_namespace(const std::function<void()>& body) { run_in_netns(-1, body); }
  static std::optional<netlink::Link> find(const std::string& name) {
    auto kernel = netlink::Netlink::open();
    EXPECT_TRUE(kernel);
    return *kernel->find_link(name);
  }
};

TEST_F(TapTest, IsPersistentAndHasItsMac) {
  in_namespace([] {
    const auto mac = *parse_mac("02:00:00:00:00:42");
    {
      const auto queues = create_tap({.name = "eth0", .queues = 1, .mac = mac});
      ASSERT_TRUE(queues) << queues.error().message;
      ASSERT_EQ(queues->size(), 1u);
      const int fd = queues->front().get();
      EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
      EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
      ifreq request{};
      ASSERT_EQ(::ioctl(fd, TUNGETIFF, &request), 0);
      EXPECT_EQ(request.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE),
                IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
      int header = 0;
      ASSERT_EQ(::ioctl(fd, TUNGETVNETHDRSZ, &header), 0);
      EXPECT_EQ(header, kVnetHeaderBytes);
    }
    const auto link = find("eth0");
    ASSERT_TRUE(link) << "it must outlive its descriptors";
    EXPECT_EQ(link->mac, mac);
    EXPECT_EQ(link->kind, "tun");
    EXPECT_TRUE(open_tap_queues("eth0", 1));
  });
}

TEST_F(TapTest, HasAsManyQueuesAsAsked) {
  in_namespace([] {
    {
      const auto queues = create_tap({.name = "eth0", .queues = 4, .mac = {}});
      ASSERT_TRUE(queues) << queues.error().message;
      EXPECT_EQ(queues->size(), 4u);
    }
    const auto wrong = open_tap_queues("eth0", 1);
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, ErrorCode::kInvalid);
    const auto again = open_tap_queues("eth0", 4);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->size(), 4u);
  });
}

TEST_F(TapTest, RefusesATakenName) {
  in_namespace([] {
    auto kernel = netlink::Netlink::open();
    ASSERT_TRUE(kernel->apply(netlink::Batch().add_veth("v0", "v1")));
    ASSERT_TRUE(create_tap({.name = "t0", .queues = 1, .mac = {}}));
    for (const char* taken : {"v0", "t0", "lo"}) {
      const auto tap = create_tap({.name = taken, .queues = 1, .mac = {}});
      ASSERT_FALSE(tap) << taken;
      EXPECT_EQ(tap.error().code, ErrorCode::kConflict) << tap.error().message;
      EXPECT_NE(tap.error().message.find(taken), std::string::npos);
    }
    EXPECT_TRUE(find("v0") && find("t0"));
  });
}

TEST_F(TapTest, SaysWhyItCannotBeOpened) {
  in_namespace([] {
    EXPECT_EQ(open_tap_queues("eth0", 1).error().code, ErrorCode::kNotFound);
    EXPECT_FALSE(find("eth0")) << "opening must not make one";
    const auto held = create_tap({.name = "eth0", .queues = 1, .mac = {}});
    ASSERT_TRUE(held);
    EXPECT_EQ(open_tap_queues("eth0", 1).error().code, ErrorCode::kConflict);
    EXPECT_EQ(create_tap({.name = "", .queues = 1, .mac = {}}).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(create_tap({.name = "sixteen_bytes_xx", .queues = 1, .mac = {}}).error().code,
              ErrorCode::kInvalid);
    EXPECT_EQ(create_tap({.name = "eth1", .queues = 17, .mac = {}}).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(create_tap({.name = "eth1", .queues = 0, .mac = {}}).error().code, ErrorCode::kInvalid);
    EXPECT_FALSE(create_tap({.name = "eth1", .queues = 1, .mac = *parse_mac("01:00:00:00:00:00")}));
    EXPECT_FALSE(find("eth1")) << "a failure leaves nothing";
  });
}

}  // namespace
}  // namespace podwire::control
