// How a CNI command fails: a code of the specification (or ours, from 100), a message for the person,
// details. Part of the daemon and of the plugin process. CniResult<T> works with PODWIRE_TRY and
// PODWIRE_CHECK, and takes a plain Error with the code that fits its kind.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "dataplane/base/json.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::control {

enum class CniCode : unsigned {
  kIncompatibleVersion = 1,
  kUnsupportedField = 2,
  kUnknownContainer = 3,
  kBadEnvironment = 4,
  kIo = 5,
  kUndecodable = 6,
  kInvalidConfig = 7,
  kTryAgain = 11,
  kNotAvailable = 50,
  kLimited = 51,  // the same, and pods that are there may reach less than they should
  // Ours; the README lists them.
  kConflict = 100,      // interface, attachment or address exists already
  kExhausted = 101,     // no address, id or queue left
  kDiffers = 102,       // CHECK found something else than prevResult says
  kIpamPlugin = 103,    // the IPAM plugin cannot be run, or does not speak CNI
  kInternal = 104,      // our own fault
  kOvertaken = 105,     // a DEL came while the ADD was under way
  kGcIncomplete = 106,  // some attachments could not be removed
};

struct CniError {
  CniCode code = CniCode::kInternal;
  std::string message;
  std::string details;

  CniError(CniCode c, std::string m, std::string d = {})
      : code(c), message(std::move(m)), details(std::move(d)) {}
  CniError(const Error& error);
};

// What CHECK says when something is not as prevResult has it.
inline CniError differs(std::string message) {
  return {CniCode::kDiffers, std::move(message)};
}

template <class T>
class [[nodiscard]] CniResult {
 public:
  CniResult(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  CniResult(CniError error) : state_(std::in_place_index<1>, std::move(error)) {}
  CniResult(const Error& error) : CniResult(CniError(error)) {}

  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() { return std::get<0>(state_); }
  const T& operator*() const { return std::get<0>(state_); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  const CniError& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, CniError> state_;
};

template <>
class [[nodiscard]] CniResult<void> {
 public:
  CniResult() = default;
  CniResult(CniError error) : error_(std::move(error)) {}
  CniResult(const Error& error) : error_(CniError(error)) {}
  CniResult(const Result<void>& result) {
    if (!result) error_ = CniError(result.error());
  }

  explicit operator bool() const { return !error_.has_value(); }
  const CniError& error() const { return *error_; }

 private:
  std::optional<CniError> error_;
};

// The error object as it goes to stdout. `version`: the request's cniVersion, or empty when it is unknown.
Json to_json(const CniError& error, const std::string& version);

}  // namespace podwire::control
