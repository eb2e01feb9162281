// Rows of ports that pods publish on the node: who has which, and the service id of each. On the thread that
// owns the database, inside a transaction (control/state/store.cpp); addresses and protocols as text, so that
// the table's UNIQUE says what it means.
#pragma once

#include <vector>

#include "control/state/sqlite.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

// Service ids above are those of the cluster's services (control/api/services.cpp).
inline constexpr std::uint32_t kLastPublished = 0x3fffffff;

// What two pods cannot both have: the same protocol and port on an address that both ask for.
bool share_an_address(const std::optional<IpAddr>& a, const std::optional<IpAddr>& b);
std::string describe(const PublishedPort& port);  // "tcp 192.168.100.1:8080"

// Gives the published ports of `attachment` their service ids. kConflict with who has a port already,
// kInvalid when `domain` cannot have any or the node lacks an address.
Result<void> allot_published_ports(Database& database, const DomainPools& domain, Attachment& attachment);
Result<void> insert_published_ports(Database& database, const Attachment& attachment);
Result<void> remove_published_ports(Database& database, const Attachment& attachment);
Result<std::vector<PublishedPort>> read_published_ports(Database& database, PortId port);

}  // namespace podwire::control
