// The answer of a range as its text comes by: of a hundred thousand keys a document would cost more than all
// that is done with them.
#include "control/cluster/base64.hpp"
#include "control/cluster/etcd_messages.hpp"

namespace podwire::control {
namespace {

class PageReader final : public nlohmann::json_sax<Json> {
 public:
  Result<EtcdPage> take() {
    if (page_.revision == 0 && problem_.empty()) problem_ = "header.revision is missing";
    if (!problem_.empty()) return unavailable("etcd's answer is malformed: " + problem_);
    return std::move(page_);
  }
  const std::string& problem() const { return problem_; }

  bool null() override { return field_ == Field::kHeader ? true : scalar(); }
  bool boolean(bool value) override {
    if (field_ == Field::kMore) page_.more = value;
    return scalar();
  }
  bool number_integer(number_integer_t value) override { return number(value); }
  bool number_unsigned(number_unsigned_t value) override {
    return number(value > INT64_MAX ? -1 : static_cast<std::int64_t>(value));
  }
  bool number_float(number_float_t, const string_t&) override { return number(-1); }
  bool binary(binary_t&) override { return scalar(); }
  bool string(string_t& value) override {
    if (field_ != Field::kKey && field_ != Field::kValue) return number(to_etcd_number(value).value_or(-1));
    auto bytes = from_base64(value);
    if (!bytes) return fail(name() + " is no base64");
    (field_ == Field::kKey ? item().key : item().value) = std::move(*bytes);
    return true;
  }
  bool key(string_t& name) override {
    field_ = Field::kNone;
    for (const auto& known : kFields) {
      if (known.place == open_.back() && name == known.name) field_ = known.field;
    }
    return true;
  }
  bool start_object(std::size_t) override {
    if (open_.empty()) return enter(Place::kTop);
    if (open_.back() == Place::kItems) {
      page_.items.emplace_back();
      return enter(Place::kItem);
    }
    if (field_ == Field::kHeader) return enter(Place::kHeader);
    return expected() ? fail(*expected()) : enter(Place::kElsewhere);
  }
  bool start_array(std::size_t) override {
    if (field_ == Field::kItems) return enter(Place::kItems);
    return expected() ? fail(*expected()) : enter(Place::kElsewhere);
  }
  bool end_object() override {
    const bool incomplete = open_.back() == Place::kItem && (item().key.empty() || item().mod_revision == 0);
    return incomplete ? fail("a key or its revision is missing") : leave();
  }
  bool end_array() override { return leave(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override {
    return fail(error.what());
  }

 private:
  enum class Place : std::uint8_t { kTop, kHeader, kItems, kItem, kElsewhere };
  // What the member is that comes next, if it is one that counts.
  enum class Field : std::uint8_t {
    kNone,
    kHeader,
    kItems,
    kMore,
    kRevision,
    kKey,
    kValue,
    kModRevision,
    kLease
  };
  struct Known {
    Place place;
    const char* name;
    Field field;
    const char* shape;  // that it must have
  };
  static constexpr Known kFields[] = {{Place::kTop, "header", Field::kHeader, "no object"},
                                      {Place::kTop, "kvs", Field::kItems, "no array"},
                                      {Place::kTop, "more", Field::kMore, nullptr},
                                      {Place::kHeader, "revision", Field::kRevision, "no number"},
                                      {Place::kItem, "key", Field::kKey, "no text"},
                                      {Place::kItem, "value", Field::kValue, "no text"},
                                      {Place::kItem, "mod_revision", Field::kModRevision, "no number"},
                                      {Place::kItem, "lease", Field::kLease, "no number"}};
  static constexpr std::size_t kDeepest = 64;

  EtcdItem& item() { return page_.items.back(); }
  std::string name() const {
    for (const auto& known : kFields) {
      if (known.field == field_) return known.name;
    }
    return {};
  }
  // What is wrong with a value of another kind than is wanted here; none: any will do.
  std::optional<std::string> expected() const {
    if (open_.empty()) return "it is no object";
    if (open_.back() == Place::kItems) return "a key and its value are no object";
    for (const auto& known : kFields) {
      if (known.field == field_ && known.shape != nullptr) return name() + " is " + known.shape;
    }
    return std::nullopt;
  }
  bool scalar() { return expected() ? fail(*expected()) : true; }
  bool number(std::int64_t value) {
    auto* const to = field_ == Field::kRevision      ? &page_.revision
                     : field_ == Field::kModRevision ? &item().mod_revision
                     : field_ == Field::kLease       ? &item().lease
                                                     : nullptr;
    if (to == nullptr || value < 0) return scalar();
    *to = value;
    return true;
  }
  bool enter(Place place) {
    field_ = Field::kNone;
    if (open_.size() == kDeepest) return fail("it is nested too deep");
    open_.push_back(place);
    return true;
  }
  bool leave() {
    field_ = Field::kNone;
    open_.pop_back();
    return true;
  }
  bool fail(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return false;
  }

  EtcdPage page_;
  std::vector<Place> open_;
  Field field_ = Field::kNone;
  std::string problem_;
};

}  // namespace

Result<EtcdPage> read_etcd_page(std::string_view text) {
  PageReader reader;
  if (!Json::sax_parse(text, &reader) && reader.problem().empty())
    return unavailable("etcd's answer is malformed");
  return reader.take();
}

}  // namespace podwire::control
