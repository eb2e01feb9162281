// Turns the kernel's netlink messages into Link, Address, Route and Neighbor. Internal to control/netlink.
// Lengths are checked although the kernel is trusted: a message of an unexpected family must not be misread.
#pragma once

#include "control/netlink/netlink.hpp"

struct nlmsghdr;

namespace podwire::control::netlink {

// False: a message that is not of interest (another type or family).
bool parse_message(const nlmsghdr* message, Link& out);
bool parse_message(const nlmsghdr* message, Address& out);
bool parse_message(const nlmsghdr* message, Route& out);
bool parse_message(const nlmsghdr* message, Neighbor& out);
// Of a message that says that the route is there, or that it has gone.
bool parse_route(const nlmsghdr* message, Route& out);
bool parse_neighbor(const nlmsghdr* message, Neighbor& out);

// "strerror, the kernel's own words" of an NLMSG_ERROR message; `error` becomes the errno, 0 for an
// acknowledgement.
std::string error_text(const nlmsghdr* message, int& error);

}  // namespace podwire::control::netlink
