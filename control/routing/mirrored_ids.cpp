#include "control/routing/mirrored_ids.hpp"

namespace podwire::control {
namespace {

std::uint32_t hash_of(const IpPrefix& prefix) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const auto byte : prefix.address.bytes()) hash = (hash ^ byte) * 0x100000001b3;
  hash = (hash ^ static_cast<std::uint64_t>(prefix.length)) * 0x100000001b3;
  hash = (hash ^ static_cast<std::uint64_t>(prefix.address.is_v4())) * 0x100000001b3;
  return static_cast<std::uint32_t>(hash >> 32 ^ hash);
}

}  // namespace

std::uint32_t MirroredIds::allot(const IpPrefix& about) {
  auto id = hash_of(about) | kFirstMirrored;
  while (!used_.insert(id).second) id = (id + 1) | kFirstMirrored;
  return id;
}

}  // namespace podwire::control
