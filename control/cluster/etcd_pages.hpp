// What a store has in some spans of keys, all of it as it was at one revision, page by page: while one page
// is looked at, the next one is on its way, on a thread of its own. A page grows as long as answers come
// quickly (etcd counts all keys of a span for every page of it, so that small pages of a long span cost it
// more than the keys themselves) and shrinks where values are large. Used by one thread.
#pragma once

#include <future>
#include <string>
#include <vector>

#include "control/cluster/etcd_client.hpp"

namespace podwire::control {

// Keys from `begin` up to, but not with, `end`; "\0": to the last of all.
struct EtcdSpan {
  std::string begin, end;
  static EtcdSpan below(const std::string& prefix) { return {prefix, end_of_prefix(prefix)}; }
};

class EtcdPages {
 public:
  // Begins to read at once. `client` must outlive it; nobody else uses it until the last page has come, but
  // for cancel(). `revision`: of the store, that all of it is read at; 0: the present one.
  EtcdPages(EtcdClient& client, std::vector<EtcdSpan> spans, std::int64_t revision = 0);
  ~EtcdPages();  // ends what is under way
  EtcdPages(const EtcdPages&) = delete;
  EtcdPages& operator=(const EtcdPages&) = delete;

  // Those that come next, in the order of the spans and of keys; none: that was all. After an error nothing
  // more comes.
  Result<std::vector<EtcdItem>> next();
  // That it is read at; after the first page.
  std::int64_t revision() const { return revision_; }

 private:
  Result<std::vector<EtcdItem>> fetch();
  Result<EtcdPage> fetch_page(const EtcdSpan& span);
  void resize(std::chrono::milliseconds took);

  EtcdClient& client_;
  const std::vector<EtcdSpan> spans_;
  std::int64_t revision_;
  // Of the thread that reads, while it runs.
  std::size_t span_ = 0, items_ = 0;
  std::string from_;
  int limit_;
  std::int64_t read_at_;
  std::future<Result<std::vector<EtcdItem>>> coming_;
};

}  // namespace podwire::control
