// VhostAddressMap: the translations that librte_vhost has been told by a guest behind an IOMMU (IOTLB_MSG),
// and the one rule that it does not keep itself: it takes translations that follow each other without a gap
// for one piece of its own address space, wherever the guest's memory has them. A buffer over two of them
// would be written beyond the end of that memory. So before it is told of one, it has to forget those next to
// it that could lead out. What is kept here is at least what the library keeps, which forgets some by itself.
// One connection's; main thread only. No DPDK, no sockets.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace podwire::engine {

class VhostAddressMap {
 public:
  struct Range {
    std::uint64_t first, bytes;
    bool operator==(const Range&) const = default;
  };
  static constexpr std::size_t kMost = 16384;    // translations of one guest
  static constexpr unsigned kLongestRun = 1024;  // that may follow each other without a gap
  static constexpr Range kAll{0, ~std::uint64_t{0}};

  // The guest's memory, in addresses of the peer, none of which overlap. Nothing may be known when it
  // changes.
  void set_memory(std::vector<Range> regions) { regions_ = std::move(regions); }

  // The device's `range` is at `user` in the peer. Empty when good, else why the peer has to be disconnected;
  // `forget`: what the library must be told to forget first.
  std::string add(Range range, std::uint64_t user, std::vector<Range>& forget);
  // Takes back what touches `range`.
  void remove(Range range);
  void clear() { entries_.clear(); }
  bool empty() const { return entries_.empty(); }

  // Whether what is known of `range` lies in one piece, as the library takes it to be.
  bool in_one_piece(Range range) const;

 private:
  struct Entry {
    std::uint64_t bytes, user;
    std::uint64_t room;  // from `user` to the end of its memory
  };
  using Entries = std::map<std::uint64_t, Entry>;  // by the device's address; they do not overlap

  std::uint64_t room_at(std::uint64_t user) const;
  bool leads_out_behind(Entries::const_iterator at) const;
  bool leads_out_before(Entries::const_iterator at) const;
  void make_room(std::vector<Range>& forget);

  std::vector<Range> regions_;
  Entries entries_;
  std::uint64_t hand_ = 0;  // the address that had to make room last
};

}  // namespace podwire::engine
