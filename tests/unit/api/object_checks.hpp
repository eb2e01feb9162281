// What the tests of the wire's objects share: valid objects come back as they were, and each change that
// makes one invalid is refused by name.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "dataplane/base/json.hpp"

namespace podwire::api {

struct Refusal {
  const char* json;     // merged over a valid object; null removes the key
  const char* message;  // what the error begins with
};

template <class T>
void expect_refusals(const char* valid, const char* path, const std::vector<Refusal>& refusals) {
  const Json base = *parse_json(valid, "test");
  T object;
  const auto read = read_value(base, path, object);
  ASSERT_TRUE(read) << read.error().message;
  for (const auto& refusal : refusals) {
    Json changed = base;
    changed.merge_patch(*parse_json(refusal.json, "test"));
    T out;
    const auto result = read_value(changed, path, out);
    ASSERT_FALSE(result) << refusal.json;
    EXPECT_EQ(result.error().code, ErrorCode::kInvalid) << refusal.json;
    EXPECT_EQ(result.error().message.rfind(refusal.message, 0), 0u)
        << refusal.json << " gave: " << result.error().message;
    EXPECT_NE(result.error().message.find(path), std::string::npos) << result.error().message;
  }
}

// Reads what to_json wrote and wants the same object back.
template <class T>
void expect_round_trip(const char* text) {
  T first;
  const auto read = read_value(*parse_json(text, "test"), "x", first);
  ASSERT_TRUE(read) << read.error().message;
  T second;
  const auto again = read_value(to_json(first), "x", second);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(first, second) << to_json(first).dump();
}

}  // namespace podwire::api
