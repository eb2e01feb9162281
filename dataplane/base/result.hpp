// Result<T>: how control code reports failure. The hot path never uses it (it returns drop reasons).
// No DPDK in here. A message names the object, the bad value and the limit or the next step.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace podwire {

enum class ErrorCode {
  kParse,           // the text is not JSON
  kInvalidRequest,  // JSON, but no JSON-RPC request
  kUnknownVerb,
  kInvalid,      // a value is outside what its field allows
  kNotFound,     // a named object does not exist
  kConflict,     // exists already, or contradicts something that does
  kUnavailable,  // a peer process or device is not there now; trying again may help
  kDenied,       // the caller may not do this
  kExhausted,    // a bounded resource is used up
  kIo,           // the operating system refused
  kUnsupported,  // understood, but not offered
  kInternal,     // our own fault
};

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

// Value or Error. Contextually true when it holds a value.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return !error_.has_value(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

inline Error invalid(std::string message) {
  return {ErrorCode::kInvalid, std::move(message)};
}
inline Error not_found(std::string message) {
  return {ErrorCode::kNotFound, std::move(message)};
}
inline Error conflict(std::string message) {
  return {ErrorCode::kConflict, std::move(message)};
}
inline Error unavailable(std::string message) {
  return {ErrorCode::kUnavailable, std::move(message)};
}
inline Error io_error(std::string message) {
  return {ErrorCode::kIo, std::move(message)};
}

// "what: strerror(errno)" as an I/O error; call it before errno can change.
Error errno_error(std::string what);

}  // namespace podwire

// Returns the error of `expr` (a Result<...>) from the enclosing function.
#define PODWIRE_CHECK(expr)                                                           \
  do {                                                                                \
    if (auto podwire_check_ = (expr); !podwire_check_) return podwire_check_.error(); \
  } while (0)

#define PODWIRE_CONCAT_(a, b) a##b
#define PODWIRE_CONCAT(a, b) PODWIRE_CONCAT_(a, b)
// `PODWIRE_TRY(auto value, call());` binds the value or returns the error.
#define PODWIRE_TRY(declaration, expr) PODWIRE_TRY_(declaration, expr, PODWIRE_CONCAT(podwire_try_, __LINE__))
#define PODWIRE_TRY_(declaration, expr, tmp) \
  auto tmp = (expr);                         \
  if (!tmp) return tmp.error();              \
  declaration = std::move(*tmp)
