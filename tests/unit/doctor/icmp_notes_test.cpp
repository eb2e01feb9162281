// ICMP messages as UnderlayEcho reads them, and every one of them cut short.
#include <gtest/gtest.h>

#include "control/doctor/underlay_echo.hpp"

namespace podwire::control::doctor_tests {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// 192.168.100.2, and in the quoted packet 192.168.100.1 to it.
const Bytes kIp4{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 168, 100, 2, 192, 168, 100, 1};
const Bytes kQuoted4{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 168, 100, 1, 192, 168, 100, 2};
const Bytes kUdp{0xc0, 0, 0x12, 0xb5, 0, 8, 0, 0};  // to 4789

Bytes icmp(std::uint8_t type, std::uint8_t code) {
  return {type, code, 0, 0, 0x12, 0x34, 0, 1};
}

Bytes quoted6() {
  Bytes ip(40);
  ip[0] = 0x60;
  ip[6] = 17;
  ip[24] = 0xfd;
  ip[39] = 2;
  return ip;
}

TEST(IcmpNotes, ReadEchoReplies) {
  IcmpNote note;
  ASSERT_TRUE(read_icmp4(kIp4 + icmp(0, 0), note));
  EXPECT_EQ(note.kind, IcmpNote::Kind::kEchoReply);
  EXPECT_EQ(note.identifier, 0x1234);
  ASSERT_TRUE(read_icmp6(icmp(129, 0), note));
  EXPECT_EQ(note.kind, IcmpNote::Kind::kEchoReply);
  EXPECT_FALSE(read_icmp4(kIp4 + icmp(8, 0), note));
}

TEST(IcmpNotes, ReadWhatTunnelPacketsMetWith) {
  IcmpNote note;
  struct Case {
    std::uint8_t code;
    IcmpNote::Kind kind;
  };
  for (const auto& [code, kind] : {Case{3, IcmpNote::Kind::kPortUnreachable},
                                   {13, IcmpNote::Kind::kProhibited},
                                   {10, IcmpNote::Kind::kProhibited},
                                   {1, IcmpNote::Kind::kUnreachable}}) {
    ASSERT_TRUE(read_icmp4(kIp4 + icmp(3, code) + kQuoted4 + kUdp, note));
    EXPECT_EQ(note.kind, kind) << int{code};
    EXPECT_EQ(to_string(note.destination), "192.168.100.2");
    EXPECT_EQ(note.udp_port, 4789);
  }
  for (const auto& [code, kind] : {Case{4, IcmpNote::Kind::kPortUnreachable},
                                   {1, IcmpNote::Kind::kProhibited},
                                   {6, IcmpNote::Kind::kProhibited},
                                   {3, IcmpNote::Kind::kUnreachable}}) {
    ASSERT_TRUE(read_icmp6(icmp(1, code) + quoted6() + kUdp, note));
    EXPECT_EQ(note.kind, kind) << int{code};
    EXPECT_EQ(to_string(note.destination), "fd00::2");
    EXPECT_EQ(note.udp_port, 4789);
  }
  EXPECT_FALSE(read_icmp4(kIp4 + icmp(3, 4) + kQuoted4 + kUdp, note)) << "fragmentation needed";
}

TEST(IcmpNotes, RefuseWhatIsCutShort) {
  IcmpNote note;
  const auto four = kIp4 + icmp(3, 3) + kQuoted4 + kUdp;
  for (std::size_t length = 0; length < four.size(); ++length)
    EXPECT_FALSE(read_icmp4(std::span(four).first(length), note)) << length;
  const auto six = icmp(1, 4) + quoted6() + kUdp;
  for (std::size_t length = 0; length < six.size(); ++length)
    EXPECT_FALSE(read_icmp6(std::span(six).first(length), note)) << length;
  auto odd = four;
  odd[0] = 0x4f;  // options that are not there
  EXPECT_FALSE(read_icmp4(odd, note));
  odd = four;
  odd[0] = 0x41;
  EXPECT_FALSE(read_icmp4(odd, note));
}

}  // namespace
}  // namespace podwire::control::doctor_tests
