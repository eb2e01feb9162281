#include "control/netlink/netlink.hpp"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "control/netlink/parse.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control::netlink {
namespace {

constexpr std::size_t kReceiveBytes = 65536;  // more than any single datagram of a dump
constexpr std::size_t kBatchBytes = 32768;    // a batch is sent in pieces that fit the socket's send buffer,
constexpr std::size_t kBatchMessages = 128;   // and whose answers fit its receive buffer
constexpr int kDumpAttempts = 8;

ErrorCode code_of(int error) {
  switch (error) {
    case EEXIST:
    case EBUSY:
      return ErrorCode::kConflict;
    case ENODEV:
    case ENOENT:
    case ESRCH:
    case EADDRNOTAVAIL:
      return ErrorCode::kNotFound;
    case EINVAL:
    case ERANGE:
      return ErrorCode::kInvalid;
    default:
      return ErrorCode::kIo;
  }
}

template <class Head>
std::vector<std::uint8_t> dump_request(std::uint16_t type) {
  std::vector<std::uint8_t> bytes(NLMSG_SPACE(sizeof(Head)));
  nlmsghdr* const header = mnl_nlmsg_put_header(bytes.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  mnl_nlmsg_put_extra_header(header, sizeof(Head));
  return bytes;
}

std::string sysctl_path(const std::string& ifname, const std::string& key) {
  return "/proc/sys/net/ipv6/conf/" + ifname + "/" + key;
}

Result<UniqueFd> open_sysctl(const std::string& ifname, const std::string& key, int flags) {
  // A slash would lead elsewhere; interface names never have one.
  if (ifname.empty() || ifname.find('/') != ifname.npos)
    return invalid("\"" + ifname + "\" is no interface name");
  const auto path = sysctl_path(ifname, key);
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (fd) return fd;
  const int error = errno;
  return Error{
      error == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
      path + ": " + std::strerror(error) +
          (error == ENOENT ? " (no such interface in this namespace, or a kernel without IPv6)" : "")};
}

}  // namespace

void Netlink::Close::operator()(mnl_socket* socket) const {
  mnl_socket_close(socket);
}

Result<Netlink> Netlink::open() {
  mnl_socket* const socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket == nullptr) return errno_error("netlink socket");
  Netlink netlink(socket);
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) return errno_error("bind netlink socket");
  int on = 1;
  // Both only make messages shorter and clearer; a kernel without them still answers.
  mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &on, sizeof on);
  mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &on, sizeof on);
  return netlink;
}

template <class T>
Result<std::vector<T>> Netlink::dump(std::vector<std::uint8_t> request, const char* what) {
  auto* const header = reinterpret_cast<nlmsghdr*>(request.data());
  std::vector<char> buffer(kReceiveBytes);
  for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
    header->nlmsg_seq = sequence_++;
    if (mnl_socket_sendto(socket_.get(), header, header->nlmsg_len) < 0)
      return errno_error(std::string("list ") + what);
    std::vector<T> items;
    bool done = false, interrupted = false;
    while (!done) {
      const auto got = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno_error(std::string("list ") + what);
      int left = static_cast<int>(got);
      for (auto* m = reinterpret_cast<nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(m, left);
           m = mnl_nlmsg_next(m, &left)) {
        if (m->nlmsg_seq != header->nlmsg_seq) continue;
        // Something changed while the kernel was listing: the list may lack or repeat entries.
        interrupted |= (m->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (m->nlmsg_type == NLMSG_DONE) {
          done = true;
        } else if (m->nlmsg_type == NLMSG_ERROR) {
          int error = 0;
          const auto text = error_text(m, error);
          return Error{code_of(error), std::string("list ") + what + ": " + text};
        } else if (T item; parse_message(m, item)) {
          items.push_back(std::move(item));
        }
      }
    }
    if (!interrupted) return items;
  }
  return unavailable(std::string("list ") + what + ": they changed during each of " +
                     std::to_string(kDumpAttempts) + " attempts; try again");
}

Result<std::vector<Link>> Netlink::links() {
  return dump<Link>(dump_request<ifinfomsg>(RTM_GETLINK), "interfaces");
}

Result<std::optional<Link>> Netlink::find_link(const std::string& name) {
  if (name.empty() || name.size() >= IFNAMSIZ) return std::optional<Link>{};
  std::vector<std::uint8_t> request(256);
  nlmsghdr* const header = mnl_nlmsg_put_header(request.data());
  header->nlmsg_type = RTM_GETLINK;
  header->nlmsg_flags = NLM_F_REQUEST;
  header->nlmsg_seq = sequence_++;
  mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg));
  mnl_attr_put_strz(header, IFLA_IFNAME, name.c_str());
  const auto what = "look up interface " + name;
  if (mnl_socket_sendto(socket_.get(), header, header->nlmsg_len) < 0) return errno_error(what);
  std::vector<char> buffer(kReceiveBytes);
  for (;;) {
    const auto got = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(what);
    int left = static_cast<int>(got);
    for (auto* m = reinterpret_cast<nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(m, left);
         m = mnl_nlmsg_next(m, &left)) {
      if (m->nlmsg_seq != header->nlmsg_seq) continue;
      if (m->nlmsg_type == NLMSG_ERROR) {
        int error = 0;
        const auto text = error_text(m, error);
        if (error == ENODEV) return std::optional<Link>{};
        return Error{code_of(error), what + ": " + text};
      }
      if (Link link; parse_message(m, link)) return std::optional<Link>(std::move(link));
    }
  }
}

Result<Link> Netlink::link(const std::string& name) {
  PODWIRE_TRY(auto found, find_link(name));
  if (!found) return not_found("there is no interface \"" + name + "\" in this network namespace");
  return std::move(*found);
}

Result<std::vector<Address>> Netlink::addresses(unsigned link) {
  PODWIRE_TRY(auto all, dump<Address>(dump_request<ifaddrmsg>(RTM_GETADDR), "addresses"));
  if (link != 0) std::erase_if(all, [link](const Address& a) { return a.link != link; });
  return all;
}

Result<std::vector<Route>> Netlink::routes(unsigned link, std::uint32_t table) {
  PODWIRE_TRY(auto all, dump<Route>(dump_request<rtmsg>(RTM_GETROUTE), "routes"));
  const auto uses_link = [link](const Route& r) {
    return r.link == link || std::any_of(r.next_hops.begin(), r.next_hops.end(),
                                         [link](const RouteNextHop& hop) { return hop.link == link; });
  };
  std::erase_if(all, [&](const Route& r) {
    const bool wrong_table = table == 0 ? r.table == RT_TABLE_LOCAL : r.table != table;
    return wrong_table || (link != 0 && !uses_link(r));
  });
  return all;
}

Result<std::vector<Neighbor>> Netlink::neighbors(unsigned link) {
  PODWIRE_TRY(auto all, dump<Neighbor>(dump_request<ndmsg>(RTM_GETNEIGH), "neighbours"));
  if (link != 0) std::erase_if(all, [link](const Neighbor& n) { return n.link != link; });
  return all;
}

Result<void> Netlink::apply(const Batch& batch) {
  const auto& items = batch.items_;
  std::optional<Error> first;
  for (std::size_t begin = 0; begin < items.size();) {
    std::vector<std::uint8_t> bytes;
    const unsigned first_sequence = sequence_;
    std::size_t end = begin;
    for (; end < items.size() && end - begin < kBatchMessages; ++end) {
      if (end > begin && bytes.size() + items[end].bytes.size() > kBatchBytes) break;
      const auto at = bytes.size();
      bytes.insert(bytes.end(), items[end].bytes.begin(), items[end].bytes.end());
      reinterpret_cast<nlmsghdr*>(bytes.data() + at)->nlmsg_seq = sequence_++;
    }
    if (mnl_socket_sendto(socket_.get(), bytes.data(), bytes.size()) < 0)
      return errno_error(items[begin].what);
    if (auto answered = check_answers(batch, begin, end, first_sequence); !answered && !first)
      first = answered.error();
    begin = end;
  }
  if (first) return *first;
  return {};
}

Result<void> Netlink::check_answers(const Batch& batch, std::size_t begin, std::size_t end,
                                    unsigned first_sequence) {
  std::vector<char> buffer(kReceiveBytes);
  std::optional<Error> first;
  std::size_t first_index = end;
  for (std::size_t waiting = end - begin; waiting > 0;) {
    const auto got = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(batch.items_[begin].what);
    int left = static_cast<int>(got);
    for (auto* m = reinterpret_cast<nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(m, left);
         m = mnl_nlmsg_next(m, &left)) {
      const std::size_t index = begin + (m->nlmsg_seq - first_sequence);
      if (m->nlmsg_type != NLMSG_ERROR || index < begin || index >= end) continue;
      --waiting;
      int error = 0;
      const auto text = error_text(m, error);
      if (error == 0 || index >= first_index) continue;
      first_index = index;
      first = Error{code_of(error), batch.items_[index].what + ": " + text};
    }
  }
  if (first) return *first;
  return {};
}

Result<int> read_ipv6_sysctl(const std::string& ifname, const std::string& key) {
  PODWIRE_TRY(const auto fd, open_sysctl(ifname, key, O_RDONLY));
  char text[32];
  const auto n = ::read(fd.get(), text, sizeof text);
  if (n < 0) return errno_error("read " + sysctl_path(ifname, key));
  int value = 0;
  if (std::from_chars(text, text + n, value).ec != std::errc{}) {
    return io_error(sysctl_path(ifname, key) + " holds no number");
  }
  return value;
}

Result<void> write_ipv6_sysctl(const std::string& ifname, const std::string& key, int value) {
  PODWIRE_TRY(const auto fd, open_sysctl(ifname, key, O_WRONLY));
  const auto text = std::to_string(value);
  if (::write(fd.get(), text.data(), text.size()) < 0) {
    return errno_error("write " + text + " to " + sysctl_path(ifname, key));
  }
  return {};
}

}  // namespace podwire::control::netlink
