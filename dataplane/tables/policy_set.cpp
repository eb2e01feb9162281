#include "dataplane/tables/policy_set.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "dataplane/headers/headers.hpp"
#include "dataplane/tables/span_index.hpp"

namespace podwire::engine {
// Named, since PolicySet::Side is one of its classes.
namespace policy_set_detail {

__extension__ using Address6 = unsigned __int128;  // in host order
using Address4 = std::uint32_t;

// What a rule says of the protocol, by which everything is kept.
using Class = std::uint64_t;
constexpr Class kAnyProtocol = static_cast<Class>(api::RuleProtocol::kAny);
constexpr std::size_t kClasses = 6;

// kAnyProtocol for what no rule can name.
inline Class class_of(std::uint8_t protocol) {
  switch (protocol) {
    case ip_proto::kTcp:
      return static_cast<Class>(api::RuleProtocol::kTcp);
    case ip_proto::kUdp:
      return static_cast<Class>(api::RuleProtocol::kUdp);
    case ip_proto::kSctp:
      return static_cast<Class>(api::RuleProtocol::kSctp);
    case ip_proto::kIcmp:
      return static_cast<Class>(api::RuleProtocol::kIcmp);
    case ip_proto::kIcmpv6:
      return static_cast<Class>(api::RuleProtocol::kIcmpv6);
    default:
      return kAnyProtocol;
  }
}
inline Class class_of(const api::PolicyRule& rule) {
  return static_cast<Class>(rule.protocol);
}

template <class T>
struct Range {
  T first{}, last{};  // both included
};

// Sorted by `first`, then key by key: overlapping and adjacent ranges become one, and `index` finds them.
template <class T>
struct Keyed {
  std::uint64_t key = 0;
  Range<T> range;
};

template <class T>
class RangeLists {
 public:
  void add(std::uint64_t key, const Range<T>& range) { entries_.push_back({key, range}); }

  void build() {
    std::sort(entries_.begin(), entries_.end(), [](const Keyed<T>& a, const Keyed<T>& b) {
      return a.key != b.key ? a.key < b.key : a.range.first < b.range.first;
    });
    std::size_t keys = 0;
    for (std::size_t i = 0; i < entries_.size(); ++i)
      keys += i == 0 || entries_[i].key != entries_[i - 1].key ? 1 : 0;
    index_.reserve(keys);
    ranges_.reserve(entries_.size());
    for (std::size_t i = 0; i < entries_.size();) {
      const auto key = entries_[i].key;
      const auto first = ranges_.size();
      for (; i < entries_.size() && entries_[i].key == key; ++i) append(first, entries_[i].range);
      index_.put(key,
                 {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(ranges_.size() - first)});
    }
    ranges_.shrink_to_fit();
    entries_ = {};
  }

  bool contain(std::uint64_t key, T value) const noexcept {
    const auto span = index_.find(key);
    if (span.count == 0) return false;
    const auto* begin = ranges_.data() + span.first;
    const auto* after = std::upper_bound(begin, begin + span.count, value,
                                         [](T wanted, const Range<T>& r) { return wanted < r.first; });
    return after != begin && value <= after[-1].last;
  }
  bool empty() const noexcept { return ranges_.empty(); }
  std::size_t bytes() const { return index_.bytes() + ranges_.capacity() * sizeof(Range<T>); }

 private:
  void append(std::size_t first, const Range<T>& range) {
    if (ranges_.size() > first) {
      auto& last = ranges_.back();
      if (range.first <= last.last || range.first - last.last == 1) {
        last.last = std::max(last.last, range.last);
        return;
      }
    }
    ranges_.push_back(range);
  }

  std::vector<Keyed<T>> entries_;
  std::vector<Range<T>> ranges_;
  SpanIndex index_;
};

template <class T>
T to_number(const IpAddr& address) {
  T number = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) number = static_cast<T>(number << 8 | address.bytes()[i]);
  return number;
}

template <class T>
Range<T> range_of(const IpPrefix& prefix) {
  const auto bits = static_cast<int>(sizeof(T) * 8);
  const T hosts =
      prefix.length == 0 ? static_cast<T>(~T{0}) : static_cast<T>((T{1} << (bits - prefix.length)) - 1);
  const auto first = static_cast<T>(to_number<T>(prefix.address) & static_cast<T>(~hosts));
  return {first, static_cast<T>(first | hosts)};
}

// visit(range) for what the holes leave of the block.
template <class T, class Visit>
void cut_out(const api::PolicyBlock& block, Visit visit) {
  const auto whole = range_of<T>(block.prefix);
  std::vector<Range<T>> holes;
  for (const auto& hole : block.except) holes.push_back(range_of<T>(hole));
  std::sort(holes.begin(), holes.end(),
            [](const Range<T>& a, const Range<T>& b) { return a.first < b.first; });
  T at = whole.first;
  for (const auto& hole : holes) {
    if (hole.first > at) visit(Range<T>{at, static_cast<T>(hole.first - 1)});
    if (hole.last >= whole.last) return;
    at = std::max(at, static_cast<T>(hole.last + 1));
  }
  visit(Range<T>{at, whole.last});
}

// visit(length, prefix) for the port prefixes that make up the range.
template <class Visit>
void split_ports(const api::PortRange& ports, Visit visit) {
  for (std::uint32_t at = ports.first; at <= ports.last;) {
    int free_bits = at == 0 ? 16 : std::countr_zero(at);
    while ((1u << free_bits) - 1 > ports.last - at) --free_bits;
    visit(static_cast<std::uint64_t>(16 - free_bits), at);
    at += 1u << free_bits;
  }
}

inline std::uint64_t port_key(Class of, std::uint64_t length, std::uint64_t prefix) {
  return of << 32 | length << 16 | prefix;
}
inline std::uint64_t peer_key(Class of, std::uint64_t identity) {
  return of << 32 | identity;
}

// The blocks of one family.
template <class T>
class Blocks {
 public:
  void add(const api::PolicyBlock& block, const api::PolicyRule& rule) {
    const auto of = class_of(rule);
    cut_out<T>(block, [&](const Range<T>& range) {
      split_ports(rule.ports, [&](std::uint64_t length, std::uint64_t prefix) {
        lists_.add(port_key(of, length, prefix), range);
        lengths_[of] |= 1u << length;
      });
    });
  }
  void build() { lists_.build(); }

  bool allow(Class of, const IpAddr& address, std::uint16_t port) const noexcept {
    if (lists_.empty()) return false;
    const auto number = to_number<T>(address);
    return allow_in(kAnyProtocol, number, port) || (of != kAnyProtocol && allow_in(of, number, port));
  }
  std::size_t bytes() const { return lists_.bytes(); }

 private:
  bool allow_in(Class of, T address, std::uint16_t port) const noexcept {
    for (auto lengths = lengths_[of]; lengths != 0; lengths &= lengths - 1) {
      const auto length = static_cast<unsigned>(std::countr_zero(lengths));
      const std::uint64_t prefix = port & ~(0xffffu >> length);
      if (lists_.contain(port_key(of, length, prefix), address)) return true;
    }
    return false;
  }

  RangeLists<T> lists_;
  std::uint32_t lengths_[kClasses]{};  // bit L: some list is for port prefixes of that length
};

class CompiledSide {
 public:
  explicit CompiledSide(const api::PolicySide& side) {
    for (const auto& rule : side.rules) add(rule);
    peers_.build();
    blocks4_.build();
    blocks6_.build();
  }

  bool allows(const PolicyQuestion& question) const noexcept {
    const auto of = class_of(question.protocol);
    if (allows_peer(of, kAnybody, question.port)) return true;
    if (question.identity && allows_peer(of, question.identity.value(), question.port)) return true;
    return question.address.is_v4() ? blocks4_.allow(of, question.address, question.port)
                                    : blocks6_.allow(of, question.address, question.port);
  }
  std::size_t bytes() const { return sizeof *this + peers_.bytes() + blocks4_.bytes() + blocks6_.bytes(); }

 private:
  static constexpr std::uint64_t kAnybody = 0;  // no identity has that id

  void add(const api::PolicyRule& rule) {
    const auto of = class_of(rule);
    const Range<std::uint16_t> ports{rule.ports.first, rule.ports.last};
    if (rule.any_peer) peers_.add(peer_key(of, kAnybody), ports);
    for (const auto identity : rule.identities) peers_.add(peer_key(of, identity.value()), ports);
    for (const auto& block : rule.blocks) {
      if (block.prefix.address.is_v4()) {
        blocks4_.add(block, rule);
      } else {
        blocks6_.add(block, rule);
      }
    }
  }

  bool allows_peer(Class of, std::uint64_t identity, std::uint16_t port) const noexcept {
    return peers_.contain(peer_key(kAnyProtocol, identity), port) ||
           (of != kAnyProtocol && peers_.contain(peer_key(of, identity), port));
  }

  RangeLists<std::uint16_t> peers_;
  Blocks<Address4> blocks4_;
  Blocks<Address6> blocks6_;
};

}  // namespace policy_set_detail

class PolicySet::Side : public policy_set_detail::CompiledSide {
 public:
  using CompiledSide::CompiledSide;
};

PolicySet::PolicySet(const api::Policy& policy) : id_(policy.id) {
  if (policy.ingress)
    sides_[static_cast<std::size_t>(PolicyDirection::kIngress)] =
        std::make_unique<const Side>(*policy.ingress);
  if (policy.egress)
    sides_[static_cast<std::size_t>(PolicyDirection::kEgress)] = std::make_unique<const Side>(*policy.egress);
}

PolicySet::~PolicySet() = default;

bool PolicySet::allows(PolicyDirection side, const PolicyQuestion& question) const noexcept {
  const auto* rules = sides_[static_cast<std::size_t>(side)].get();
  return rules == nullptr || rules->allows(question);
}

std::size_t PolicySet::bytes() const {
  std::size_t bytes = sizeof *this;
  for (const auto& side : sides_) bytes += side ? side->bytes() : 0;
  return bytes;
}

}  // namespace podwire::engine
