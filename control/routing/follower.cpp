#include "control/routing/follower.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>

namespace podwire::control {
namespace {

constexpr std::size_t kChangesAtOnce = 8192;
// Between lists that follow each other, so that a flapping link costs little.
constexpr int kListPauseMs = 100;
constexpr int kErrorPauseMs = 1000;

}  // namespace

RouteFollower::RouteFollower(Options options, netlink::Monitor monitor, netlink::Netlink netlink)
    : options_(std::move(options)),
      monitor_(std::move(monitor)),
      netlink_(std::move(netlink)),
      mirror_(options_.tables, options_.uplink),
      neighbors_(options_.uplink),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

Result<std::unique_ptr<RouteFollower>> RouteFollower::start(Options options) {
  PODWIRE_TRY(auto monitor, netlink::Monitor::open());
  PODWIRE_TRY(auto netlink, netlink::Netlink::open());
  std::unique_ptr<RouteFollower> made(
      new RouteFollower(std::move(options), std::move(monitor), std::move(netlink)));
  PODWIRE_CHECK(made->list());
  if (made->handing_over_.valid()) made->handing_over_.get();
  made->thread_ = std::thread([follower = made.get()] { follower->follow(); });
  return made;
}

RouteFollower::~RouteFollower() {
  const std::uint64_t one = 1;
  // A failed write means a full counter, which wakes the thread as well.
  [[maybe_unused]] const auto n = ::write(stop_.get(), &one, sizeof one);
  if (thread_.joinable()) thread_.join();
}

Result<void> RouteFollower::list() {
  PODWIRE_TRY(const auto link, netlink_.find_link(options_.interface));
  PODWIRE_TRY(auto routes, netlink_.routes(0, 0));
  std::set<IpAddr> own;
  std::vector<netlink::Neighbor> neighbors;
  if (link) {
    PODWIRE_TRY(const auto addresses, netlink_.addresses(link->index));
    for (const auto& address : addresses) own.insert(address.prefix.address);
    PODWIRE_TRY(neighbors, netlink_.neighbors(link->index));
  }
  mirror_.reset(link ? link->index : 0, std::move(routes));
  neighbors_.reset(link.value_or(netlink::Link()), std::move(own), neighbors);
  ++lists_;
  hand_over();
  return {};
}

Result<netlink::Changes> RouteFollower::read() {
  return monitor_.read(kChangesAtOnce,
                       [this](const netlink::NeighborChange& change) { return neighbors_.matters(change); });
}

// What there is, after what is under way.
void RouteFollower::hand_over() {
  auto neighbors = neighbors_.take();
  auto routes = mirror_.take();
  if (neighbors.empty() && routes.empty()) return;
  if (handing_over_.valid()) handing_over_.get();
  handing_over_ = std::async(std::launch::async,
                             [this, neighbors = std::move(neighbors), routes = std::move(routes)]() mutable {
                               if (!neighbors.empty()) options_.neighbors_changed(std::move(neighbors));
                               if (!routes.empty()) options_.changed(std::move(routes));
                             });
}

bool RouteFollower::wait(int pause_ms) {
  pollfd watched[2] = {{stop_.get(), POLLIN, 0}, {monitor_.fd(), POLLIN, 0}};
  ::poll(watched, pause_ms < 0 ? 2 : 1, pause_ms);
  return (watched[0].revents & POLLIN) == 0;
}

void RouteFollower::follow() {
  while (wait(-1)) {
    auto changes = read();
    if (changes && changes->relist) {
      // More of the kind is likely to come at once. What is read now, the list has too.
      if (!wait(kListPauseMs)) return;
      do changes = read();
      while (changes && changes->size() != 0);
      if (changes) {
        if (auto listed = list(); !listed) changes = listed.error();
      }
    } else if (changes) {
      for (const auto& change : changes->neighbors) neighbors_.apply(change);
      for (auto& change : changes->routes) mirror_.apply(std::move(change));
      hand_over();
    }
    if (changes) continue;
    spdlog::warn("routing: {}; trying again", changes.error().message);
    do {
      if (!wait(kErrorPauseMs)) return;
    } while (!list());
  }
}

}  // namespace podwire::control
