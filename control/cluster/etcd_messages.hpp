// The JSON of etcd's gateway, to and from the client's structs: bytes are base64, 64-bit numbers are strings,
// zeros and empty values are left out (protobuf's JSON mapping). Pure. Private to control/cluster/etcd_*.
#pragma once

#include <optional>

#include "control/cluster/etcd_client.hpp"

namespace podwire::control {

// What an answer says besides 200, as an error: kDenied (token missing, wrong or expired; the user may not),
// kUnavailable (the server cannot now), else kInvalid.
Error etcd_error(const StoreEndpoint& endpoint, const HttpAnswer& answer);
// Whether that error is one that a new token may mend.
bool wants_token(const Error& error);

// A number of protobuf's; absent is 0.
Result<std::int64_t> read_etcd_number(const Json& object, const char* key);
// The store's, of an answer; never 0.
Result<std::int64_t> read_etcd_revision(const Json& reply);
Result<EtcdItem> read_etcd_item(const Json& value);

Json etcd_json(const EtcdTransaction& transaction);

struct EtcdPage {
  std::int64_t revision = 0;
  std::vector<EtcdItem> items;
  bool more = false;
};
Result<EtcdPage> read_etcd_page(const Json& reply);

// One line of a watch.
struct EtcdWatchLine {
  std::vector<EtcdEvent> events;
  bool compacted = false;
  bool ended = false;  // the server gave the watch up
  std::string why;     // with ended
};
Result<EtcdWatchLine> read_etcd_watch(std::string_view line);

}  // namespace podwire::control
