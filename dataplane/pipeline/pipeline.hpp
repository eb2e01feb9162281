// THE ordered stage list. One file a stage; see driver.hpp for what a stage is.
#pragma once

#include "dataplane/pipeline/decap.hpp"
#include "dataplane/pipeline/dhcp.hpp"
#include "dataplane/pipeline/driver.hpp"
#include "dataplane/pipeline/encap.hpp"
#include "dataplane/pipeline/finalize.hpp"
#include "dataplane/pipeline/flood.hpp"
#include "dataplane/pipeline/flow.hpp"
#include "dataplane/pipeline/forward.hpp"
#include "dataplane/pipeline/gateway.hpp"
#include "dataplane/pipeline/guard.hpp"
#include "dataplane/pipeline/host.hpp"
#include "dataplane/pipeline/merge.hpp"
#include "dataplane/pipeline/parse.hpp"
#include "dataplane/pipeline/rewrite.hpp"
#include "dataplane/pipeline/track.hpp"

namespace podwire::engine {

using Pipeline = StageList<ParseStage,     // headers found and checked, offsets noted
                           DecapStage,     // VXLAN to one of our VTEPs: outer headers off, domain known
                           HostStage,      // what else arrives on uplink or host port: to the node and back
                           GuardStage,     // pods send from their own addresses only
                           DhcpStage,      // DHCP and router solicitations of pods are answered
                           GatewayStage,   // ARP, ND and echo for the gateway are answered
                           FlowStage,      // stateful domains: known connections decided, new ones checked
                           ForwardStage,   // L2: FDB; L3: FIB
                           TrackStage,     // new connections noted, with the way that they take
                           FloodStage,     // one copy a member
                           RewriteStage,   // MACs, TTL, MTU; ICMP errors
                           MergeStage,     // TCP segments from a tunnel joined for a tap
                           FinalizeStage,  // segmentation and checksums the egress cannot do
                           EncapStage>;    // outer headers on

// Parked and injected packets come back here.
inline constexpr std::size_t kResumeStage = Pipeline::index_of<EncapStage>();

}  // namespace podwire::engine
