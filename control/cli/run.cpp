#include "control/cli/run.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "control/cli/arguments.hpp"
#include "control/cli/complete.hpp"
#include "control/cli/daemon.hpp"
#include "control/cli/flows.hpp"
#include "control/cli/help.hpp"
#include "control/cli/manifests.hpp"
#include "control/cli/select.hpp"
#include "control/cli/stats.hpp"
#include "control/cli/views.hpp"

namespace podwire::control::cli {
namespace {

using Clock = std::chrono::steady_clock;

// Pure ASCII, so that no name in it can reach the terminal's control sequences.
std::string json_text(const Json& value, int indent) {
  return value.dump(indent, ' ', true, Json::error_handler_t::replace) + "\n";
}

class Runner {
 public:
  Runner(const Command& command, Terminal& terminal)
      : command_(command),
        terminal_(terminal),
        daemon_(command.socket, command.timeout_ms),
        style_{terminal.colour && command.colour} {}

  int run() {
    const auto& verb = command_.verb->name;
    if (verb == "version") return version();
    if (verb == "leave") return leave();
    if (verb == "flows" && command_.question.contains("top")) return top_flows();
    if (verb == "flows") return command_.sub->name == "flush" ? flush() : flows();
    if (verb == "stats" && command_.watch_s > 0) return watch();
    if (command_.sub != nullptr && !command_.sub->method.empty()) return change();
    const Json params = verb == "explain"                 ? command_.question
                        : verb == "stats" && command_.all ? Json{{"all", true}}
                                                          : Json::object();
    auto reply = daemon_.call_whole(command_.verb->method, params, command_.verb->list_key);
    if (!reply) return daemon_.unreachable() ? refuse(reply.error()) : refuse(with_suggestion(reply.error()));
    auto wanted = filtered(std::move(*reply));
    if (!wanted) {
      if (wanted.error().code == ErrorCode::kNotFound) return refuse(wanted.error());
      return not_understood(wanted.error());
    }
    return command_.names ? print_names(*wanted) : print(*wanted);
  }

 private:
  int refuse(const Error& error) {
    // Line by line: our own advice has several, and the daemon's text is foreign.
    std::string_view rest = error.message;
    const char* prefix = "podwirectl: ";
    for (;;) {
      const auto end = rest.find('\n');
      terminal_.err << prefix << printable(rest.substr(0, end)) << "\n";
      if (end == rest.npos) break;
      rest.remove_prefix(end + 1);
      prefix = "  ";
    }
    return daemon_.unreachable() ? kExitUnreachable : kExitRefused;
  }

  // `explain` from nobody: names the endpoint that was likely meant, unless the daemon did so.
  Error with_suggestion(Error error) {
    if (command_.verb->name != "explain" || error.code != ErrorCode::kNotFound) return error;
    if (error.message.find("did you mean") != std::string::npos) return error;
    const auto* endpoint = find_verb("endpoint");
    Daemon other(command_.socket,
                 command_.timeout_ms);  // so that daemon_ still tells how the question itself went
    const auto reply = other.call_whole(endpoint->method, Json::object(), endpoint->list_key);
    const auto names =
        reply ? object_names(*endpoint, *reply) : Result<std::vector<std::string>>(reply.error());
    if (!names) return error;  // the first error is the one to report
    const auto near = closest_match(command_.question.at("from").get_ref<const std::string&>(), *names);
    error.message +=
        near.empty() ? "\nWho there is: podwirectl endpoint" : "\nDid you mean \"" + near + "\"?";
    return error;
  }

  int not_understood(const Error& error) {
    terminal_.err << "podwirectl: cannot show podwired's reply to \"" << command_.verb->method
                  << "\": " << printable(error.message) << "\n  podwirectl is version " << PODWIRE_VERSION
                  << "; compare: podwirectl version. The reply as it is: podwirectl " << command_.verb->name
                  << " --json\n";
    return kExitRefused;
  }

  // Null when the engine gives none; what else is known is shown all the same.
  Json counters() {
    const auto stats = daemon_.call_whole("stats", Json::object(), "ports");
    return stats ? *stats : Json();
  }

  Result<Json> filtered(Json reply) {
    const Verb& verb = *command_.verb;
    if (!command_.domain.empty()) {
      PODWIRE_TRY(reply, select_domain(verb, reply, command_.domain));
    }
    if (!command_.argument.empty()) {
      PODWIRE_TRY(auto chosen, select_named(verb, reply, command_.argument));
      return verb.name == "port" ? with_counters(std::move(chosen), counters()) : chosen;
    }
    if (verb.name == "stats") return filter_stats(reply, command_.sub->name);
    return reply;
  }

  int print(const Json& reply) {
    // The exit status of `status` is the same with and without --json.
    auto healthy = command_.verb->name == "status" ? is_healthy(reply) : Result<bool>(true);
    if (command_.json) {
      terminal_.out << json_text(reply, 2);
    } else {
      const auto text = page(reply);
      if (!text) return not_understood(text.error());
      terminal_.out << *text;
    }
    if (!healthy) return not_understood(healthy.error());
    return *healthy ? kExitDone : kExitUnhealthy;
  }

  Result<std::string> page(const Json& reply) const {
    const Verb& verb = *command_.verb;
    if (verb.name == "port" && command_.sub->name == "show") return port_view(reply, style_);
    if (command_.sub && command_.sub->name == "show")
      return details_view(reply, verb.list_key.c_str(), style_);
    if (verb.name == "status") return status_view(reply, style_);
    if (verb.name == "port") return ports_view(reply, style_);
    if (verb.name == "domain") return domains_view(reply, style_);
    if (verb.name == "endpoint") return endpoints_view(reply, style_);
    if (verb.name == "route") return routes_view(reply, style_);
    if (verb.name == "peer") return peers_view(reply, style_);
    if (verb.name == "node") return nodes_view(reply, style_);
    if (verb.name == "policy") return policies_view(reply, style_);
    if (verb.name == "service") return services_view(reply, style_);
    if (verb.name == "address") return addresses_view(reply, style_);
    if (verb.name == "explain") return explain_view(reply, command_.question, style_);
    if (verb.name == "reconcile") return reconcile_view(reply);
    PODWIRE_TRY(const Stats stats, read_stats(reply, command_.sub->name));
    return totals_view(stats, command_.sub->name, style_);
  }

  int print_names(const Json& reply) {
    const auto names = object_names(*command_.verb, reply);
    if (!names) return not_understood(names.error());
    for (const auto& name : *names) terminal_.out << printable(name) << "\n";
    return kExitDone;
  }

  int change() {
    Json params = command_.question;
    if (!command_.file.empty()) {
      auto text = read_manifest_file(command_.file);
      if (!text) return refuse(text.error());
      // podwired says where it is no UTF-8.
      params["manifests"] = std::move(*text);
      params["what"] = command_.file == "-" ? std::string("standard input") : command_.file;
    }
    const auto reply = daemon_.call(command_.sub->method, params);
    if (!reply) return refuse(reply.error());
    const bool gives_address = command_.verb->name == "address" && command_.sub->name != "delete";
    if (gives_address && !command_.json) return show(address_change_view(*reply, style_));
    terminal_.out << (command_.json ? json_text(*reply, 2) : changed(*reply));
    return kExitDone;
  }

  // Page by page, until there are as many as asked for.
  int flows() {
    Json params = command_.question;
    const std::int64_t limit =
        params.contains("limit") ? params["limit"].get<std::int64_t>() : std::int64_t{kDefaultFlows};
    Json all = Json::array();
    bool more = true;
    for (std::int64_t after = 0; more;) {
      params["after"] = after;
      params["limit"] = std::min<std::int64_t>(limit - static_cast<std::int64_t>(all.size()), 100'000);
      auto reply = daemon_.call("flows", params);
      if (!reply) return refuse(reply.error());
      const bool whole = reply->is_object() && reply->contains("flows") && (*reply)["flows"].is_array();
      if (!whole) return not_understood(invalid("flows is missing or no array"));
      for (auto& flow : (*reply)["flows"]) all.push_back(std::move(flow));
      more = reply->contains("next_after");
      if (static_cast<std::int64_t>(all.size()) >= limit) break;
      if (!more) break;
      const auto before = after;
      const auto read = podwire::read_value((*reply)["next_after"], "next_after", after);
      if (!read) return not_understood(read.error());
      if (after <= before) return not_understood(invalid("next_after does not advance"));
    }
    const Json reply{{"flows", std::move(all)}};
    if (command_.json) {
      terminal_.out << json_text(reply, 2);
      return kExitDone;
    }
    return show(flows_view(reply, more, style_));
  }

  // The waiting is done here: it keeps nobody else from podwired.
  int top_flows() {
    Json params = command_.question;
    const int seconds = params.value("seconds", kDefaultTopSeconds);
    params["limit"] = params["top"];
    for (const auto* ours : {"top", "seconds"}) params.erase(ours);
    const auto sample = daemon_.call("flows_sample", {{"seconds", seconds}});
    if (!sample) return refuse(sample.error());
    if (!sample->is_object() || !sample->contains("sample"))
      return not_understood(invalid("sample is missing"));
    params["sample"] = (*sample)["sample"];
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
    auto reply = daemon_.call("flows_top", params);
    // The engine may begin a moment after we were told that it has.
    const auto patience = Clock::now() + std::chrono::seconds(2);
    while (!reply && reply.error().code == ErrorCode::kUnavailable && !daemon_.unreachable() &&
           Clock::now() < patience) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      reply = daemon_.call("flows_top", params);
    }
    if (!reply) return refuse(reply.error());
    return show(command_.json ? json_text(*reply, 2) : top_flows_view(*reply, style_));
  }

  int flush() {
    const auto reply = daemon_.call("flows_flush", command_.question);
    if (!reply) return refuse(reply.error());
    return show(command_.json ? json_text(*reply, 2) : flushed_view(*reply));
  }

  int show(const Result<std::string>& text) {
    if (!text) return not_understood(text.error());
    terminal_.out << *text;
    return kExitDone;
  }

  std::string changed(const Json& reply) const {
    const auto& sub = command_.sub->name;
    if (command_.verb->name == "address") return deleted_view(reply);
    if (command_.verb->name == "domain") return joined_view(reply);
    if (sub == "forget") return forgotten_view(command_.argument);
    if (command_.verb->name != "policy" && command_.verb->name != "service")
      return change_view(command_.verb->name, sub, command_.argument, reply);
    if (sub == "apply") return applied_view(reply, style_);
    return sub == "delete" ? deleted_view(reply) : policy_answer_view(reply, style_);
  }

  int leave() {
    if (!command_.yes) {
      terminal_.err
          << "podwirectl: leave takes the network from every pod of this node: it moves the underlay's "
             "addresses "
             "back to the NIC and stops the engine.\n  If that is what you want: podwirectl leave --yes\n";
      return kExitUsage;
    }
    const auto reply = daemon_.call("leave", Json::object());
    if (!reply) return refuse(reply.error());
    terminal_.out
        << (command_.json
                ? json_text(*reply, 2)
                : "Podwire has left this node: the NIC is the kernel's again, the engine has stopped.\n");
    return kExitDone;
  }

  int version() {
    const auto reply = daemon_.call("status", Json::object());
    const auto version_in = [](const Json& object) -> Json {
      if (!object.is_object()) return nullptr;
      const auto at = object.find("version");
      return at != object.end() && at->is_string() ? *at : Json();
    };
    const Json daemon = reply ? version_in(*reply) : Json();
    const Json engine =
        reply && reply->is_object() && reply->contains("engine") ? version_in((*reply)["engine"]) : Json();
    if (command_.json) {
      terminal_.out << json_text({{"podwirectl", PODWIRE_VERSION}, {"podwired", daemon}, {"engine", engine}},
                                 2);
      return kExitDone;
    }
    const auto shown = [](const Json& text) {
      return text.is_string() ? printable(text.get_ref<const std::string&>()) : std::string("not reachable");
    };
    terminal_.out << "podwirectl      " << PODWIRE_VERSION << "\npodwired        " << shown(daemon)
                  << "\npodwire-engine  " << shown(engine) << "\n";
    return kExitDone;
  }

  // Shows rates until the count is reached. While podwired or the engine is away it says so and goes on, so
  // that a restart can be watched; only the first look must succeed.
  int watch() {
    const Json params = command_.all ? Json{{"all", true}} : Json::object();
    const auto step =
        std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(command_.watch_s));
    const auto& section = command_.sub->name;
    std::optional<Stats> before;
    auto before_at = Clock::now();
    auto next = before_at;
    for (int shown = -1; command_.count == 0 || shown < command_.count;) {
      std::this_thread::sleep_until(next);
      const auto reply = daemon_.call_whole("stats", params, "ports");
      const auto now = Clock::now();
      next = std::max(next + step, now);
      if (!reply) {
        const int status = refuse(reply.error());
        if (shown < 0 || reply.error().code != ErrorCode::kUnavailable) return status;
        ++shown;
        before.reset();
        continue;
      }
      auto stats = read_stats(*reply, section);
      if (!stats) return not_understood(stats.error());
      if (++shown > 0)
        show_rates(*reply, before, *stats, std::chrono::duration<double>(now - before_at).count());
      if (!terminal_.out) return kExitRefused;  // nobody reads any more
      before = std::move(*stats);
      before_at = now;
    }
    return kExitDone;
  }

  void show_rates(const Json& reply, const std::optional<Stats>& before, const Stats& now, double seconds) {
    const auto& section = command_.sub->name;
    if (command_.json) {
      terminal_.out << json_text(filter_stats(reply, section), -1) << std::flush;
      return;
    }
    if (terminal_.can_redraw) terminal_.out << "\033[H\033[2J";
    terminal_.out << "In the last " << decimal_text(seconds, 1) << " s\n\n"
                  << rates_view(before ? *before : Stats{}, now, seconds, section, style_) << "\n"
                  << std::flush;
  }

  const Command& command_;
  Terminal& terminal_;
  Daemon daemon_;
  Style style_;
};

}  // namespace

int run(const std::vector<std::string>& args, const std::string& socket_variable, Terminal& terminal) {
  if (!args.empty() && args[0] == kCompleteVerb) {
    for (const auto& word : complete({args.begin() + 1, args.end()}, socket_variable))
      terminal.out << word << "\n";
    return kExitDone;
  }
  const Style style{terminal.colour};
  if (args.empty()) {
    terminal.err << general_help({});
    return kExitUsage;
  }
  const auto command = parse_arguments(args, socket_variable);
  if (!command) {
    terminal.err << "podwirectl: " << printable(command.error().message) << "\n";
    return kExitUsage;
  }
  if (command->help) {
    const Style help_style{style.colour && command->colour};
    terminal.out << (command->verb ? verb_help(*command->verb, help_style) : general_help(help_style));
    return kExitDone;
  }
  return Runner(*command, terminal).run();
}

}  // namespace podwire::control::cli
