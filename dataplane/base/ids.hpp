// Identifiers of the engine's objects. Distinct types, explicit construction, no arithmetic; 0 is never an
// id. podwired allots them and persists them.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace podwire {

template <class Tag, class Rep>
class Id {
 public:
  using Value = Rep;
  constexpr Id() = default;
  constexpr explicit Id(Rep value) : value_(value) {}
  constexpr Rep value() const { return value_; }
  constexpr explicit operator bool() const { return value_ != 0; }
  friend constexpr auto operator<=>(Id, Id) = default;

 private:
  Rep value_ = 0;
};

using PortId = Id<struct PortTag, std::uint16_t>;
using DomainId = Id<struct DomainTag, std::uint16_t>;
using VtepId = Id<struct VtepTag, std::uint32_t>;
using EndpointId = Id<struct EndpointTag, std::uint32_t>;
using RouteId = Id<struct RouteTag, std::uint32_t>;
using PolicyId = Id<struct PolicyTag, std::uint32_t>;
using ServiceId = Id<struct ServiceTag, std::uint32_t>;
// Endpoints that no selector tells apart (the same namespace and labels) share one.
using IdentityId = Id<struct IdentityTag, std::uint32_t>;

// The built-in domain that physical ports and VTEP addresses live in; it has no VNI.
inline constexpr DomainId kUnderlayDomain{1};

// VXLAN Network Identifier, 24 bits (RFC 7348 section 5). Not an id: 0 is valid on the wire.
class Vni {
 public:
  static constexpr std::uint32_t kMax = 0xffffff;
  constexpr Vni() = default;
  // `value` must be <= kMax; readers of untrusted input check first.
  constexpr explicit Vni(std::uint32_t value) : value_(value & kMax) {}
  constexpr std::uint32_t value() const { return value_; }
  friend constexpr auto operator<=>(Vni, Vni) = default;

 private:
  std::uint32_t value_ = 0;
};

}  // namespace podwire

template <class Tag, class Rep>
struct std::hash<podwire::Id<Tag, Rep>> {
  std::size_t operator()(podwire::Id<Tag, Rep> id) const noexcept { return std::hash<Rep>{}(id.value()); }
};
