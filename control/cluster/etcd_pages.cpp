#include "control/cluster/etcd_pages.hpp"

#include <algorithm>
#include <utility>

namespace podwire::control {
namespace {

constexpr int kFirstPageItems = 2000;
constexpr int kMostPageItems = 10'000;
constexpr int kFewestPageItems = 20;  // of any size that etcd takes, they fit an answer
constexpr auto kQuickAnswer = std::chrono::milliseconds(300);
constexpr auto kSlowAnswer = std::chrono::milliseconds(1500);
constexpr std::size_t kMostItems = 4'000'000;

Error malformed_page(const char* what) {
  return unavailable(std::string("etcd's answer is malformed: ") + what);
}

}  // namespace

EtcdPages::EtcdPages(EtcdClient& client, std::vector<EtcdSpan> spans, std::int64_t revision)
    : client_(client),
      spans_(std::move(spans)),
      revision_(revision),
      limit_(kFirstPageItems),
      read_at_(revision),
      coming_(std::async(std::launch::async, [this] { return fetch(); })) {}

EtcdPages::~EtcdPages() {
  // What is under way may be between two requests, and not notice.
  constexpr auto kAgain = std::chrono::milliseconds(20);
  while (coming_.valid() && coming_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    client_.cancel();
    coming_.wait_for(kAgain);
  }
}

Result<std::vector<EtcdItem>> EtcdPages::next() {
  if (!coming_.valid()) return std::vector<EtcdItem>();
  auto page = coming_.get();
  revision_ = read_at_;
  if (page && span_ < spans_.size()) coming_ = std::async(std::launch::async, [this] { return fetch(); });
  return page;
}

void EtcdPages::resize(std::chrono::milliseconds took) {
  if (took < kQuickAnswer) limit_ = std::min(limit_ * 2, kMostPageItems);
  if (took > kSlowAnswer) limit_ = std::max(limit_ / 2, kFewestPageItems);
}

Result<EtcdPage> EtcdPages::fetch_page(const EtcdSpan& span) {
  using Clock = std::chrono::steady_clock;
  for (;;) {
    const auto begun = Clock::now();
    auto page = client_.page(from_, span.end, read_at_, limit_);
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun);
    const bool too_much = !page && (page.error().message.find(kAnswerTooLong) != std::string::npos ||
                                    (page.error().code == ErrorCode::kUnavailable && took > kSlowAnswer));
    if (too_much && limit_ > kFewestPageItems) {
      limit_ = std::max(limit_ / 10, kFewestPageItems);  // its values are large, or the way is slow
      continue;
    }
    if (page && page->more) resize(took);
    return page;
  }
}

// The next page that has items, over the ends of spans; none: there are no more.
Result<std::vector<EtcdItem>> EtcdPages::fetch() {
  while (span_ < spans_.size()) {
    const auto& span = spans_[span_];
    if (from_.empty()) from_ = span.begin;
    PODWIRE_TRY(auto page, fetch_page(span));
    // The first page tells the revision that the others are read at.
    if (read_at_ == 0) read_at_ = page.revision;
    for (const auto& item : page.items) {
      const bool inside = span.end == std::string(1, '\0') || item.key < span.end;
      if (item.key < from_ || !inside) return malformed_page("its keys are not those that were asked for");
      from_ = item.key + '\0';
    }
    items_ += page.items.size();
    if (page.more && page.items.empty()) return malformed_page("a page is empty, yet there is more");
    if (items_ > kMostItems)
      return unavailable("etcd holds more than " + std::to_string(kMostItems) + " keys from " + span.begin +
                         " on");
    if (!page.more) {
      ++span_;
      from_.clear();
      limit_ = std::min(limit_, kFirstPageItems);  // what comes next may have larger values
    }
    if (!page.items.empty()) return std::move(page.items);
  }
  return std::vector<EtcdItem>();
}

}  // namespace podwire::control
