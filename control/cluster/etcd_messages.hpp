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

// Any answer but that of a range: an object.
Result<Json> read_etcd_answer(std::string_view text);

// A number of protobuf's in its text: 0 to 2^63 - 1.
std::optional<std::int64_t> to_etcd_number(std::string_view text);
// One that is a member; absent is 0.
Result<std::int64_t> read_etcd_number(const Json& object, const char* key);
// The store's, of an answer; never 0.
Result<std::int64_t> read_etcd_revision(const Json& reply);
Result<EtcdItem> read_etcd_item(const Json& value);

Json etcd_json(const EtcdTransaction& transaction);

// The answer of a range, which may have thousands of keys: read without a document in between.
Result<EtcdPage> read_etcd_page(std::string_view text);

// One line of a watch.
struct EtcdWatchLine {
  std::vector<EtcdEvent> events;
  bool compacted = false;
  bool ended = false;  // the server gave the watch up
  std::string why;     // with ended
};
Result<EtcdWatchLine> read_etcd_watch(std::string_view line);

}  // namespace podwire::control
