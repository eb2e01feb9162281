#include "control/api/paging.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

constexpr std::int64_t kMaxLimit = 100'000;

std::uint32_t id_of(const Json& object, std::size_t position) {
  const auto id = object.find("id");
  return id != object.end() && id->is_number_unsigned() ? id->get<std::uint32_t>()
                                                        : static_cast<std::uint32_t>(position + 1);
}

}  // namespace

void read_page(ObjectReader& reader, Page& out) {
  reader.optional("after", out.after);
  reader.optional_in("limit", out.limit, 1, kMaxLimit);
}

Result<Page> read_page(const Json& params) {
  Page page;
  ObjectReader r(params, "params");
  read_page(r, page);
  PODWIRE_CHECK(r.finish());
  return page;
}

Json make_page(const char* key, Json list, const Page& page) {
  std::vector<std::pair<std::uint32_t, Json*>> ordered;
  for (std::size_t i = 0; i < list.size(); ++i) ordered.emplace_back(id_of(list[i], i), &list[i]);
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  Json kept = Json::array();
  Json reply{{key, Json()}};
  std::size_t bytes = 0;
  std::uint32_t last = 0;
  for (auto& [id, object] : ordered) {
    if (id <= page.after) continue;
    bytes += object->dump(-1, ' ', false, Json::error_handler_t::replace).size() + 1;
    const bool full = kept.size() == page.limit && page.limit != 0;
    if (full || (bytes > kMaxPageBytes && !kept.empty())) {
      reply["next_after"] = last;
      break;
    }
    kept.push_back(std::move(*object));
    last = id;
  }
  reply[key] = std::move(kept);
  return reply;
}

}  // namespace podwire::control
