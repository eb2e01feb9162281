#include "bench/trafficgen/port.hpp"

#include <rte_ethdev.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "bench/trafficgen/eal.hpp"

namespace podwire::trafficgen {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kPollInterval{10};

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", seconds);
  return text;
}

// Asks until it is so; false after `seconds`, or when we are told to stop.
template <class Condition>
bool wait_until(double seconds, Condition&& condition) {
  const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
  while (!condition()) {
    if (Clock::now() > deadline || interrupted()) return false;
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

bool is_socket(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

}  // namespace

Error Port::refused(const std::string& why) const {
  return unavailable("port " + config_.name + ": " + config_.device.text + ": " + why);
}

Result<std::unique_ptr<Port>> Port::open(const PortConfig& config, rte_mempool* pool) {
  std::unique_ptr<Port> port(new Port(config, nullptr));
  const auto& device = config.device;
  if (device.listens) {
    if (::access(device.socket.c_str(), F_OK) == 0)
      return port->refused(
          "the socket exists already, and DPDK does not replace it; remove it if nobody listens on it");
  } else if (!device.socket.empty() &&
             !wait_until(config.wait_seconds, [&] { return is_socket(device.socket); })) {
    return port->refused("there is no such socket within " + seconds_text(config.wait_seconds) +
                         "; start the switch first, or give role=server if it is the switch that connects");
  }
  PODWIRE_TRY(port->device_, engine::Ethdev::probe(config.name, engine::Devargs::parse(device.devargs)));
  PODWIRE_CHECK(port->set_up(pool));
  return port;
}

Result<void> Port::set_up(rte_mempool* pool) {
  const auto info = device_->info();
  const auto id = device_->id();
  if (config_.queues > info.max_rx_queues || config_.queues > info.max_tx_queues)
    return refused("--queues is " + std::to_string(config_.queues) + ", the device has at most " +
                   std::to_string(std::min(info.max_rx_queues, info.max_tx_queues)));
  rte_eth_conf conf{};
  const unsigned mtu = std::max(config_.largest_frame - RTE_ETHER_HDR_LEN, 1500u);
  const unsigned frame = mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
  // Software drivers say less than they take.
  if (mtu <= info.max_mtu && frame <= info.max_rx_pktlen) {
    conf.rxmode.mtu = mtu;
  } else if (!device_->devargs().is_virtual()) {
    return refused("the largest --size needs MTU " + std::to_string(mtu) + ", the device has at most " +
                   std::to_string(info.max_mtu));
  }
  if (config_.queues > 1 && (info.flow_type_rss_offloads & RTE_ETH_RSS_UDP) != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP);
  }
  PODWIRE_CHECK(device_->step("cannot be configured",
                              [&] { return rte_eth_dev_configure(id, queues(), queues(), &conf); }));
  auto receive = static_cast<std::uint16_t>(config_.descriptors), transmit = receive;
  PODWIRE_CHECK(device_->step("cannot have such queues",
                              [&] { return rte_eth_dev_adjust_nb_rx_tx_desc(id, &receive, &transmit); }));
  for (std::uint16_t queue = 0; queue < queues(); ++queue) {
    PODWIRE_CHECK(device_->step("cannot receive", [&] {
      return rte_eth_rx_queue_setup(id, queue, receive, SOCKET_ID_ANY & 0xffff'ffff, nullptr, pool);
    }));
    PODWIRE_CHECK(device_->step("cannot send", [&] {
      return rte_eth_tx_queue_setup(id, queue, transmit, SOCKET_ID_ANY & 0xffff'ffff, nullptr);
    }));
  }
  PODWIRE_CHECK(device_->step("cannot be started (does the switch listen there?)",
                              [&] { return rte_eth_dev_start(id); }));
  rte_eth_promiscuous_enable(id);  // the switch may address frames to a MAC that is not the device's
  return {};
}

bool Port::is_up() const {
  rte_eth_link link{};
  return rte_eth_link_get_nowait(id(), &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

Result<void> Port::wait_up(double seconds) const {
  if (wait_until(seconds, [&] { return is_up(); })) return {};
  if (interrupted()) return unavailable("interrupted");
  const auto& device = config_.device;
  if (device.listens)
    return refused("nobody connected within " + seconds_text(seconds) +
                   "; point the switch's client at this socket");
  if (!device.socket.empty())
    return refused(
        "the switch did not complete the connection within " + seconds_text(seconds) +
        "; is the socket of another kind, in use by another program, or its secret or id another?");
  return refused("no link within " + seconds_text(seconds) +
                 "; check cable and the other end, or give more --link-time");
}

Error Port::link_lost() const {
  return refused(
      "the link went down during a trial; if it is a socket the switch has closed it: start the switch and "
      "run this again");
}

}  // namespace podwire::trafficgen
