// What the shell may complete. config/podwirectl.bash-completion asks `podwirectl __complete WORD...` and
// gets one candidate a line, so the verb list here is the only one.
#pragma once

#include <string>
#include <vector>

namespace podwire::control::cli {

inline constexpr const char* kCompleteVerb = "__complete";

// `words` are those after "podwirectl" up to the cursor; the last is the one being typed and may be empty.
// Names of live objects are asked of podwired, which gets one second; candidates with characters that a shell
// or terminal interprets are left out.
std::vector<std::string> complete(const std::vector<std::string>& words, const std::string& socket_variable);

}  // namespace podwire::control::cli
