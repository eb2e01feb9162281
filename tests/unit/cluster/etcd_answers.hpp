// A server in etcd's place, and what it answers.
#pragma once

#include "control/cluster/base64.hpp"
#include "control/cluster/etcd_client.hpp"
#include "tests/support/scripted_http.hpp"

namespace podwire::control {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using HttpReply = ScriptedHttp::Reply;
using HttpRequest = ScriptedHttp::Request;

inline EtcdOptions options_for(const std::vector<std::string>& urls,
                               std::chrono::milliseconds answer = 500ms) {
  EtcdOptions options;
  for (const auto& url : urls) options.endpoints.push_back(*parse_endpoint(url));
  options.timeouts = {500ms, answer};
  return options;
}

inline std::string item_json(const std::string& key, const std::string& value, int revision) {
  return "{\"key\":\"" + to_base64(key) + "\",\"value\":\"" + to_base64(value) + "\",\"mod_revision\":\"" +
         std::to_string(revision) + "\"}";
}

inline std::string range_reply(const std::vector<std::string>& items, bool more = false) {
  std::string all;
  for (const auto& one : items) all += (all.empty() ? "" : ",") + one;
  return "{\"header\":{\"revision\":\"7\"},\"kvs\":[" + all + "]" + (more ? ",\"more\":true" : "") + "}";
}

inline HttpReply json_reply(std::string body, int status = 200) {
  HttpReply reply;
  reply.status = status;
  reply.body = std::move(body);
  return reply;
}

}  // namespace podwire::control
