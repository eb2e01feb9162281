// Address selection, pure: which address of a prefix comes next, given what is taken. Owns no state; the
// store calls it inside a transaction and records the outcome. Cost grows with the number of taken addresses
// and configured intervals met on the way, never with the size of the prefix.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::control {

// An address as a number: IPv4 in the low 32 bits.
__extension__ typedef unsigned __int128 AddressNumber;

AddressNumber to_number(const IpAddr& address);
IpAddr from_number(AddressNumber number, bool v4);

class AddressPool {
 public:
  struct Spec {
    IpPrefix prefix;
    IpAddr gateway;                                 // never given
    std::vector<std::pair<IpAddr, IpAddr>> ranges;  // both ends included; those of the other family are
                                                    // ignored; none of this family: the whole prefix
    std::vector<IpPrefix> exclude;
  };
  explicit AddressPool(const Spec& spec);

  const IpPrefix& prefix() const { return prefix_; }
  const IpAddr& gateway() const { return gateway_; }

  using Taken = std::function<bool(const IpAddr&)>;
  // The first address after `after` (round robin; absent: from the start) that is in the ranges and not
  // taken.
  std::optional<IpAddr> next_free(const std::optional<IpAddr>& after, const Taken& taken) const;
  // Whether next_free could ever give it.
  bool offers(const IpAddr& address) const;
  // Whether somebody may ask for it by name: inside the prefix, not gateway, network, broadcast or excluded.
  // It need not lie in a range: ranges limit what is given unasked.
  Result<void> check_requested(const IpAddr& address) const;
  // How many addresses next_free can give in all; saturates at 2^63 - 1.
  std::uint64_t capacity() const;

 private:
  struct Interval {
    AddressNumber first, last;
  };
  void remove(AddressNumber first, AddressNumber last);
  bool excluded(const IpAddr& address) const;

  IpPrefix prefix_;
  IpAddr gateway_;
  std::vector<IpPrefix> exclude_;
  std::vector<Interval> intervals_;  // sorted, disjoint
};

}  // namespace podwire::control
