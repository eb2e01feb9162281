// Domains that podwirectl added while podwired ran, as they are kept: the object that stands among "domains"
// in podwired.json, and beside it "peers", the other nodes' prefixes in it. Functions only.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

struct AddedDomain {
  DomainConfig domain;
  std::map<std::string, std::vector<IpPrefix>> peers;  // by the peer's name
  Json document;                                       // as it was given
};

// Nothing of other domains is looked at. kInvalid also for what only podwired.json may say: host_access, and
// transports without tunnel.
Result<AddedDomain> read_added_domain(const Json& document, const std::string& path);
// Puts it into the configuration, or says why it cannot be in there; then nothing has changed.
Result<void> add_domain(const AddedDomain& added, Config& config);
void remove_domain(const std::string& name, Config& config);

// Of all that are kept, also those that cannot be read.
Result<std::set<std::string>> kept_domain_names(Store& store);
Result<void> keep_domain(Store& store, const AddedDomain& added);
Result<void> forget_domain(Store& store, const std::string& name);

// All that are kept, into what was read from podwired.json. Returns why some are left out, one sentence each
// with the domain's name in quotes.
Result<std::vector<std::string>> add_kept_domains(Store& store, Config& config);

}  // namespace podwire::control
