// Lists in pages: a reply is one line of at most 1 MiB, which a few thousand objects exceed. Pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "dataplane/base/json.hpp"

namespace podwire::control {

// Of a page. Half a line: what it is embedded in has the other.
inline constexpr std::size_t kMaxPageBytes = 512u << 10;

// {after, limit} of a list verb. `after` is what the page before gave as next_after; 0: from the start.
struct Page {
  std::uint32_t after = 0;
  std::size_t limit = 0;  // 0: as many as fit
};
Result<Page> read_page(const Json& params);
// The same of an object that has other parameters too.
void read_page(ObjectReader& reader, Page& out);

// The part of `list` (objects; ordered by their "id", or by position when they have none) that `page` asks
// for and that fits a reply, as {key: [...]}. With next_after when there is more.
Json make_page(const char* key, Json list, const Page& page);

}  // namespace podwire::control
