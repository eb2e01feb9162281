#include "control/cni/error.hpp"

#include "control/cni/version.hpp"

namespace podwire::control {
namespace {

CniCode code_for(ErrorCode code) {
  switch (code) {
    case ErrorCode::kParse:
    case ErrorCode::kInvalidRequest:
      return CniCode::kUndecodable;
    case ErrorCode::kInvalid:
    case ErrorCode::kNotFound:
      return CniCode::kInvalidConfig;
    case ErrorCode::kConflict:
      return CniCode::kConflict;
    case ErrorCode::kUnavailable:
      return CniCode::kTryAgain;
    case ErrorCode::kExhausted:
      return CniCode::kExhausted;
    case ErrorCode::kIo:
    case ErrorCode::kDenied:
      return CniCode::kIo;
    case ErrorCode::kUnsupported:
      return CniCode::kUnsupportedField;
    case ErrorCode::kUnknownVerb:
    case ErrorCode::kInternal:
      break;
  }
  return CniCode::kInternal;
}

}  // namespace

CniError::CniError(const Error& error) : code(code_for(error.code)), message(error.message) {}

Json to_json(const CniError& error, const std::string& version) {
  Json json{{"cniVersion", version.empty() ? kLatestVersion : version},
            {"code", static_cast<unsigned>(error.code)},
            {"msg", error.message}};
  if (!error.details.empty()) json["details"] = error.details;
  return json;
}

}  // namespace podwire::control
