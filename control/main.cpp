// podwired: reads its configuration, brings the node into the state that it describes, and serves the control
// socket until SIGTERM. The main thread owns the socket loop and the signals; everything that may block runs
// elsewhere.
#include <sys/eventfd.h>
#include <sys/poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/program_options.hpp>
#include <filesystem>
#include <iostream>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "control/api/daemon.hpp"
#include "control/api/request_pool.hpp"
#include "control/cluster/etcd_cluster.hpp"
#include "control/cluster/first_lease.hpp"
#include "control/cluster/flannel_cluster.hpp"
#include "control/cluster/leased_config.hpp"
#include "control/cni/tap.hpp"
#include "control/routing/announced_pods.hpp"
#include "control/startup.hpp"
#include "control/state/stored_domains.hpp"
#include "dataplane/base/rpc_server.hpp"

namespace podwire::control {
namespace {

namespace po = boost::program_options;

constexpr std::size_t kRequestThreads = 128;
// How long requests that run when SIGTERM comes may take.
constexpr auto kGrace = std::chrono::seconds(60);

struct Arguments {
  std::string config = kDefaultConfigPath;
  bool check_only = false;
};

class Server {
 public:
  Server(const StopSignal& stop, const std::string& path) : stop_(stop), path_(path) {}

  // Before anything is touched: a second daemon must fail early.
  Result<void> listen() {
    std::error_code failure;
    std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), failure);
    if (failure)
      return io_error("cannot create the directory of control_socket " + path_ + ": " + failure.message());
    RpcServerOptions options;
    options.path = path_;
    PODWIRE_TRY(server_, RpcServer::listen(options, [this](RpcRequest request, Responder responder) {
                  accept(std::move(request), std::move(responder));
                }));
    return {};
  }

  void request_exit() {
    const std::uint64_t one = 1;
    // A failed write means a full counter, which wakes the loop as well.
    [[maybe_unused]] const auto n = ::write(exit_.get(), &one, sizeof one);
  }

  void serve(Daemon& daemon) {
    daemon_ = &daemon;
    RequestPool pool(kRequestThreads);
    pool_ = &pool;
    pollfd watched[3] = {{server_->fd(), POLLIN, 0}, {stop_.fd(), POLLIN, 0}, {exit_.get(), POLLIN, 0}};
    do {
      server_->poll(0);
      ::poll(watched, 3, -1);
    } while (watched[1].revents == 0 && watched[2].revents == 0);
    spdlog::info("stopping: finishing what is running; the engine, pods and the underlay stay as they are");
    stopping_ = true;
    server_->stop_listening();
    const auto deadline = std::chrono::steady_clock::now() + kGrace;
    while ((!pool.idle() || !server_->idle()) && std::chrono::steady_clock::now() < deadline)
      server_->poll(20);
    server_->poll(0);
  }

 private:
  // Main thread.
  void accept(RpcRequest request, Responder responder) {
    if (daemon_ == nullptr || stopping_) {
      responder.fail(unavailable(stopping_ ? "podwired is stopping; try again when it is back"
                                           : "podwired is starting; try again in a moment"));
      return;
    }
    // std::function wants copyable work; the request holds descriptors, so it travels by pointer.
    auto shared = std::make_shared<RpcRequest>(std::move(request));
    pool_->submit(
        [daemon = daemon_, shared, responder] { responder.answer(answer(*daemon, std::move(*shared))); });
  }

  const StopSignal& stop_;
  const std::string path_;
  UniqueFd exit_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::unique_ptr<RpcServer> server_;
  Daemon* daemon_ = nullptr;
  RequestPool* pool_ = nullptr;
  bool stopping_ = false;
};

// What recover() could not undo is still there in its half-done state.
Result<std::vector<AttachmentKey>> half_done(Store& store) {
  PODWIRE_TRY(const auto all, store.list());
  std::vector<AttachmentKey> keys;
  for (const auto& a : all) {
    if (a.state != AttachmentState::kReady) keys.push_back(a.key);
  }
  return keys;
}

// Of the pods that are there: what they publish is held, and the kernel, and whatever daemon speaks to other
// routers, learns of those that are reached without tunnels.
Result<void> tell_kernel(Store& store, const Underlay& underlay, HostServices& host_services,
                         AnnouncedPods& announced) {
  PODWIRE_TRY(auto attachments, store.list());
  const auto ready = ready_ones(std::move(attachments));
  for (const auto& attachment : ready) {
    if (auto held = host_services.hold(attachment); !held) spdlog::warn("{}", held.error().message);
  }
  host_services.start();
  return announced.start(underlay.node().addresses, ready);
}

std::set<std::string> domain_names(const Config& config) {
  std::set<std::string> names;
  for (const auto& domain : config.domains) names.insert(domain.name);
  return names;
}

// Until SIGTERM. `config` is `configured` with what was leased, if there was anything to lease; domains come
// to it and go from it.
Result<void> run_node(Config& config, const Config& configured, Store& store, Cluster* cluster,
                      Server& server, const StopSignal& stop) {
  auto in_file = domain_names(config);
  PODWIRE_TRY(auto left_out, add_kept_domains(store, config));
  for (const auto& problem : left_out) spdlog::warn("{}", problem);
  NamespaceDomains namespaces(config, store);
  PODWIRE_CHECK(namespaces.load());
  Underlay underlay(config, store);
  if (cluster != nullptr) underlay.reach(pods_of_host_domain(configured));
  PODWIRE_CHECK(underlay.inspect());
  for (const auto& warning : underlay.warnings()) spdlog::warn("{}", warning);
  std::optional<EngineProcess> engine;
  if (config.engine.spawn) {
    std::error_code failure;
    std::filesystem::create_directories(std::filesystem::path(config.engine.socket).parent_path(), failure);
    if (failure)
      return io_error("cannot create the directory of engine.socket " + config.engine.socket + ": " +
                      failure.message());
    engine.emplace(config.engine, config.state_dir + "/engine.log");
  }
  if (underlay.is_fresh()) {
    PODWIRE_TRY(const bool answers, wait_for_engine(config.engine.socket, stop));
    if (!answers) return {};
    PODWIRE_CHECK(underlay.inspect());  // it may have changed while we waited
  }

  PODWIRE_TRY(auto attachments, store.list());
  EngineReconciler::Options options;
  options.socket = config.engine.socket;
  options.epoch = store.epoch();
  options.open_pod = open_pod_queues;
  options.missing_pod = missing_pod;
  AnnouncedPods announced(config);
  options.announce = [&announced](const Attachment& attachment, bool there) {
    return announced.change(attachment, there);
  };
  if (config.underlay.host_interface) {
    options.open_host = [name = *config.underlay.host_interface] { return open_tap_queues(name, 1); };
  }
  EngineReconciler reconciler(std::move(options), ready_ones(std::move(attachments)));
  Policies policies(config, store, reconciler, &namespaces);
  PODWIRE_CHECK(policies.load());
  PODWIRE_CHECK(Addresses::load(store, reconciler));
  HostServices host_services(config);
  Services services(config, store, reconciler, &host_services);
  RemoteNodes others(config, configured, store, reconciler);
  std::optional<Sharing> sharing;
  if (auto* const shared = cluster == nullptr ? nullptr : cluster->shared_store()) {
    sharing.emplace(config, store, *shared, reconciler, others, policies, services);
  } else {
    PODWIRE_CHECK(SharedManifests::part(store));
  }
  std::unique_ptr<RouteFollower> follower;
  PODWIRE_TRY(const bool up, bring_up(config, store, underlay, reconciler, host_services, services, others,
                                      sharing ? &*sharing : nullptr, follower, stop));
  if (!up) return {};
  PODWIRE_CHECK(tell_kernel(store, underlay, host_services, announced));

  Doctor doctor(reconciler);
  CniService cni(
      {config, store, reconciler, &host_services, &namespaces, [&doctor] { return doctor.isolated(); }});
  for (const auto& problem : cni.recover()) spdlog::warn("{}", problem);
  Daemon daemon{config,
                store,
                reconciler,
                underlay,
                engine ? &*engine : nullptr,
                cni,
                policies,
                services,
                [&server] { server.request_exit(); },
                &namespaces};
  daemon.host_services = &host_services;
  daemon.doctor = &doctor;
  daemon.announced = &announced;
  Domains domains(daemon, config, std::move(in_file), std::move(left_out));
  daemon.domains = &domains;
  if (sharing) {
    daemon.shared_manifests = &sharing->manifests;
    daemon.own_endpoints = &sharing->own;
    daemon.remote_endpoints = &sharing->endpoints;
  }
  PODWIRE_TRY(daemon.leftovers, half_done(store));
  if (cluster != nullptr) {
    daemon.cluster = cluster;
    daemon.remote_nodes = &others;
    daemon.addresses.compare_with(others);
    cluster->start(node_record(config, reconciler.node()),
                   [&others](const ClusterChange& change) { others.change(change); });
  }
  if (auto settled = daemon.addresses.settle(); !settled)
    spdlog::warn("addresses outside: {}", settled.error().message);
  doctor.start();
  spdlog::info("podwired {} serves node {} at {}", PODWIRE_VERSION, config.node, config.control_socket);
  server.serve(daemon);
  if (cluster != nullptr) cluster->stop();
  return {};
}

// Its lease names this node's addresses, and the file that Flannel writes has the pods' MTU.
Result<void> run_flannel(const Config& config, Store& store, EtcdOptions options, Server& server,
                         const StopSignal& stop) {
  Underlay underlay(config, store);
  PODWIRE_CHECK(underlay.inspect());
  FlannelCluster cluster(config, store, std::move(options), underlay.node().own_addresses());
  PODWIRE_TRY(const auto leased,
              wait_for_prefixes(cluster, config, store, [&](auto time) { return stop.came(time); }));
  if (!leased) return {};
  auto own = leased_config(config, *leased);
  own.vxlan.mac = cluster.mac();
  if (cluster.direct_routing()) own.domains.front().transport = DomainTransport::kSubnet;
  // Of both families, the IPv6 subnets are reached over IPv6, whose header is longer.
  auto& domain = own.domains.front();
  const auto mtu = domain_mtu(domain, own, underlay.node());
  if (!domain.mtu && domain.prefixes.size() > 1) domain.mtu = static_cast<std::uint16_t>(mtu - 20);
  PODWIRE_CHECK(cluster.write_subnet_file(domain_mtu(own.domains.front(), own, underlay.node())));
  return run_node(own, config, store, &cluster, server, stop);
}

Result<void> run(Config config, const StopSignal& stop) {
  Server server(stop, config.control_socket);
  PODWIRE_CHECK(server.listen());
  PODWIRE_TRY(const auto store, Store::open(config.state_dir));
  if (config.cluster.mode == ClusterMode::kLocal)
    return run_node(config, config, *store, nullptr, server, stop);
  PODWIRE_TRY(auto options, EtcdOptions::of(config.cluster));
  if (config.cluster.mode == ClusterMode::kFlannel)
    return run_flannel(config, *store, std::move(options), server, stop);
  EtcdCluster cluster(config, *store, std::move(options));
  PODWIRE_TRY(const auto leased,
              wait_for_prefixes(cluster, config, *store, [&](auto time) { return stop.came(time); }));
  if (!leased) return {};
  auto own = leased_config(config, *leased);
  PODWIRE_TRY(own.cluster.has_v6_tunnels, RemoteNodes::any_v6_only(*store, cluster));
  return run_node(own, config, *store, &cluster, server, stop);
}

// Nothing: go on. Else the exit status.
std::optional<int> read_arguments(int argc, char** argv, Arguments& out) {
  po::options_description options(
      "podwired, Podwire's control daemon: keeps pods, addresses and tunnels of this node and programs the "
      "engine.\n\nOptions");
  auto add = options.add_options();
  add("config", po::value(&out.config)->default_value(kDefaultConfigPath)->value_name("FILE"),
      "configuration file (JSON)");
  add("check-config", po::bool_switch(&out.check_only),
      "read and check the configuration, then exit: 0 when it is sound");
  add("version", "print the version and exit");
  add("help,h", "print this and exit");
  try {
    po::variables_map values;
    po::store(po::command_line_parser(argc, argv).options(options).positional({}).run(), values);
    po::notify(values);
    if (values.contains("help")) {
      std::cout << options
                << "\nSignals: SIGTERM stops the daemon; the engine keeps forwarding. `podwirectl leave` "
                   "gives the network device back.\n";
      return 0;
    }
    if (values.contains("version")) {
      std::cout << "podwired " << PODWIRE_VERSION << "\n";
      return 0;
    }
  } catch (const po::error& e) {
    std::cerr << "podwired: " << e.what() << "; see podwired --help\n";
    return 2;
  }
  return std::nullopt;
}

// Every pod costs a descriptor or more.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0)
    spdlog::warn("cannot raise the limit of open files to {}", limit.rlim_max);
}

int podwired(int argc, char** argv) {
  Arguments arguments;
  if (const auto exit = read_arguments(argc, argv, arguments)) return *exit;
  auto config = read_config(arguments.config);
  if (!config) {
    std::cerr << "podwired: " << config.error().message << "\n";
    return 2;
  }
  if (arguments.check_only) {
    std::cout << arguments.config << " is sound: node " << config->node << ", " << config->domains.size()
              << " domain(s), " << config->peers.size() << " peer(s)\n";
    return 0;
  }
  spdlog::set_default_logger(spdlog::stderr_logger_mt("podwired"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z podwired %l: %v");
  spdlog::set_level(spdlog::level::from_str(config->log_level == "warn" ? "warning" : config->log_level));
  ::umask(077);
  raise_descriptor_limit();
  const StopSignal stop;
  auto done = run(std::move(*config), stop);
  if (done) return 0;
  spdlog::critical("{}", done.error().message);
  return 1;
}

}  // namespace
}  // namespace podwire::control

int main(int argc, char** argv) {
  return podwire::control::podwired(argc, argv);
}
