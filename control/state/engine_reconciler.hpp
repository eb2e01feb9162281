// The Reconciler that talks to the real engine socket. Owns one thread, the session thread: it connects (and
// reconnects) as the engine's writer, programs everything on every connect, and afterwards turns waiting
// attach and detach calls into patches, as many in one round trip as have gathered. Only that thread changes
// what is held; other threads queue changes and wait, or read under the mutex.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "control/policy/snapshot.hpp"
#include "control/state/desired.hpp"
#include "control/state/engine_session.hpp"
#include "control/state/outside.hpp"
#include "control/state/reconciler.hpp"
#include "control/state/remote_objects.hpp"
#include "control/state/service_change.hpp"

namespace podwire::control {

// Whether the interface behind a tap queue's descriptor still exists (its namespace may be gone, or somebody
// removed it).
bool tap_is_gone(int fd);

class EngineReconciler final : public Reconciler {
 public:
  using OpenQueues = std::function<Result<std::vector<UniqueFd>>()>;
  struct Options {
    std::string socket;
    std::uint64_t epoch = 0;
    // Re-open an existing persistent tap, when neither we nor the engine hold its queues any more. Called on
    // the session thread. kConflict: somebody still holds them, worth another try.
    std::function<Result<std::vector<UniqueFd>>(const Attachment&)> open_pod;
    OpenQueues open_host;
    // Why the pod behind an attachment is gone; empty: it is there. Called by differences(), on any thread. A
    // tap outlives its namespace as long as we hold its descriptors, so they do not tell. May be empty.
    std::function<std::string(const Attachment&)> missing_pod{};
    // Makes an attachment's endpoints, and no others of its, known outside of the engine: `there` when it has
    // them, else none. Called on the threads of attach(), update() and detach(), which fail when it does. May
    // be empty.
    std::function<Result<void>(const Attachment&, bool there)> announce{};
  };

  // `ready` are the attachments of the store in state kReady. Does nothing before set_node.
  EngineReconciler(Options options, std::vector<Attachment> ready);
  ~EngineReconciler() override;

  // What to program beside attachments; with an engine connected, a full replace follows at once.
  // `host_queues`: the host tap's, when they have just been created; empty: ask the engine for them or
  // re-open the tap.
  void set_node(NodeObjects node, std::vector<UniqueFd> host_queues);
  NodeObjects node() const;
  std::uint64_t node_version() const;  // another one after every set_node, and when domains came or went
  // Of the cluster's services. Returns once every worker of the engine has seen it. Refused by the engine,
  // all stays as it was. Without an engine it is kept for the next full replace.
  Result<void> change_services(ServiceChange change);
  std::map<ServiceId, api::Service> services() const;  // those of the cluster that the engine should have

  // What other nodes have, changed. Returns once every worker of the engine has seen it; refused by the
  // engine, all stays as it was. Without an engine it is kept for the next full replace.
  Result<void> change_remote(RemoteChange change);
  RemoteObjects remote() const;  // without endpoints
  // Endpoints of other nodes that had to make way for one of this node's that is no more.
  std::vector<EndpointId> returnable_endpoints() const;

  // The engine's policies, and what pods' endpoints carry in stateful domains. Before set_node it is kept;
  // afterwards this returns once the engine has it and has cut what is no longer allowed. kUnavailable
  // without an engine; then, and when the engine refuses, all stays as it was.
  Result<void> set_policies(std::shared_ptr<const PolicySnapshot> policies);
  // The same, but without an engine they are kept for the next full replace.
  Result<void> follow_policies(std::shared_ptr<const PolicySnapshot> policies);
  // The same for the addresses outside of pods' endpoints, in domains with a masquerade.
  Result<void> set_outside(std::shared_ptr<const OutsideAssignments> outside);
  // The domains and routes of `next`, and which domains reach each other, in place of those before; the rest
  // of it is not looked at. Returns once the engine has it and connections between domains that were parted
  // are forgotten. kUnavailable without an engine; then, and when the engine refuses, all stays as it was.
  // After set_node.
  Result<void> set_domains(NodeObjects next);
  // Changes of the routes that the kernel has; those whose prefix the node's own objects, or what other nodes
  // have, lead to already stay behind these. Returns once every worker of the engine has seen them. Without
  // an engine they are kept for the next full replace, and a route that the engine refuses is left out with a
  // warning. kExhausted: some were left out because there are too many.
  Result<void> change_routes(const std::vector<api::Route>& put, const std::vector<RouteId>& remove);
  std::vector<api::Route> mirrored_routes() const;  // those that the engine should have
  // The same of the kernel's permanent neighbours: endpoints of the underlay.
  Result<void> change_neighbors(const std::vector<api::Endpoint>& put, const std::vector<EndpointId>& remove);
  std::size_t mirrored_neighbors() const;

  // Until the engine holds the desired state. Otherwise kUnavailable with the reason, at once when the engine
  // refused the node's own objects.
  Result<void> wait_programmed(std::chrono::milliseconds timeout);
  // Asks the engine to leave; no error when there is none.
  Result<void> shutdown_engine();

  Result<void> attach(const Attachment& attachment, std::vector<UniqueFd> queues) override;
  Result<void> update(const Attachment& attachment) override;
  Result<void> detach(const Attachment& attachment) override;
  Result<void> verify(const Attachment& attachment) override;
  EngineState state() const override;
  Result<Json> query(const std::string& verb, const Json& params) override;
  Result<std::size_t> reconcile() override;
  Result<std::vector<std::string>> differences() override;

 private:
  struct Held {
    Attachment attachment;
    std::vector<UniqueFd> queues;
    std::string problem;   // why the engine does not have it; empty: it does
    bool refused = false;  // because the engine does not want it
  };
  enum class Action { kAttach, kUpdate, kDetach, kServices, kRemote, kCall };
  struct Change {
    Action action = Action::kCall;
    Attachment attachment;
    std::vector<UniqueFd> queues;
    std::function<Result<void>(EngineSession&)> call;
    std::function<void()> without_engine;  // in place of `call`, under the mutex; may be empty
    ServiceChange services;
    RemoteChange remote;
    std::promise<Result<void>> done;
  };
  using Batch = std::vector<Change>;
  struct NextNode {
    NodeObjects objects;
    std::vector<UniqueFd> host_queues;
  };

  Result<void> submit(Change change);
  Result<void> announce(const Attachment& attachment, bool there) const;
  Result<void> give_policies(std::shared_ptr<const PolicySnapshot> policies, bool kept_without_engine);
  void wake() const;

  // Session thread.
  void loop();
  Result<void> serve();  // one connection, until it ends
  void wait_for_work(int socket, int timeout_ms);
  // What becomes of the objects that the engine refuses in a full replace: they are left out, each with a
  // warning or a problem of its own; or it is not done, and who asked for it knows what it may be.
  enum class Refusal { kIsLeftOut, kIsTheCallers };
  Result<void> program(EngineSession& session, Refusal refusal = Refusal::kIsLeftOut);
  Result<void> gather_queues(EngineSession& session, const std::map<PortId, api::Port>& known,
                             Refusal refusal);
  void gather_pod_queues(EngineSession& session, Held& held, const std::map<PortId, api::Port>& known,
                         std::chrono::steady_clock::time_point deadline);
  // The cluster's services, each for itself: what the engine refuses is left out.
  Result<void> program_services(EngineSession& session);
  Result<void> program_one_by_one(EngineSession& session, const api::ObjectSet& node, PortQueues queues);
  Result<void> program_others(EngineSession& session, const api::ObjectSet& all);
  api::ObjectSet desired_objects(const std::map<PortId, api::Port>& known, PortQueues& queues) const;
  Result<void> change_policies(EngineSession& session, std::shared_ptr<const PolicySnapshot> next);
  // The endpoints of an attachment with all that others say of them: policies, addresses outside.
  std::vector<api::Endpoint> completed_endpoints(const Attachment& attachment, DomainId domain,
                                                 const PolicySnapshot& policies,
                                                 const Attachment* leaves = nullptr) const;
  std::vector<api::Endpoint> held_endpoints() const;  // of all that the engine has
  // outside_patching.cpp
  Result<void> change_outside(EngineSession& session, std::shared_ptr<const OutsideAssignments> next);
  const Attachment* floating_holder(const std::string& name, const Attachment* joins,
                                    const Attachment* leaves) const;
  void add_outside(const Attachment& attachment, DomainId domain, const Attachment* leaves,
                   std::vector<api::Endpoint>& endpoints) const;
  std::vector<api::Endpoint> reassigned(const Attachment& changed, bool leaves) const;
  // domain_patching.cpp
  std::vector<std::pair<api::ObjectSet, api::IdSet>> domain_patches(const NodeObjects& next) const;
  Result<void> change_domains(EngineSession& session, NodeObjects next);
  void take_domains(NodeObjects next);
  Result<void> patch_services(EngineSession& session, const ServiceChange& change);
  void take_services(ServiceChange change);  // under the mutex
  // mirrored_routes.cpp
  Result<void> patch_routes(EngineSession& session, const std::vector<api::Route>& put,
                            const std::vector<RouteId>& remove);
  Result<void> put_routes(EngineSession& session, std::vector<api::Route> routes);
  // mirrored_neighbors.cpp
  Result<void> patch_neighbors(EngineSession& session, const std::vector<api::Endpoint>& put,
                               const std::vector<EndpointId>& remove);
  std::size_t reorder_mirrored(const RemoteChange& change, const RemoteChange& undo, api::ObjectSet& put,
                               api::IdSet& remove) const;
  Result<void> patch_remote(EngineSession& session, const RemoteChange& change);
  api::Domain programmed_domain(api::Domain domain) const;
  void process(EngineSession* session);
  Batch take_batch(std::deque<Change>& changes) const;
  void apply(EngineSession& session, Batch batch);
  void finish_without_engine(Change change);
  void finish(Change change);
  bool only_loses_endpoints(const Attachment& after) const;
  bool add_to_patch(const Change& change, api::ObjectSet& put, api::IdSet& remove, PortQueues& queues) const;
  void set_generation(std::uint64_t generation);
  void set_error(const std::string& message, bool refused);
  Result<std::vector<std::string>> engine_differences(EngineSession& session);
  std::vector<std::string> missing_pods(const std::vector<Attachment>& present) const;

  const Options options_;
  UniqueFd wakeup_;

  mutable std::mutex mutex_;
  std::condition_variable programmed_;
  std::deque<Change> changes_;
  std::map<RouteId, api::Route> mirrored_;         // the kernel's routes
  std::map<EndpointId, api::Endpoint> neighbors_;  // the kernel's permanent ones
  bool stopping_ = false;
  bool refused_ = false;  // the engine refused the node's own objects
  EngineState state_;
  std::string last_instance_;
  std::optional<NextNode> next_node_;  // given by set_node, taken by the session thread
  NodeObjects node_;
  std::uint64_t node_version_ = 0;
  std::shared_ptr<const PolicySnapshot> policies_ = std::make_shared<PolicySnapshot>();
  std::shared_ptr<const OutsideAssignments> outside_ = std::make_shared<OutsideAssignments>();
  std::vector<UniqueFd> host_queues_;
  std::string host_problem_;
  std::map<PortId, Held> held_;
  std::map<ServiceId, api::Service> services_;  // of the cluster
  RemoteObjects remote_;
  std::thread thread_;
};

}  // namespace podwire::control
