#include "bench/trafficgen/options.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <sstream>
#include <tuple>

#include "bench/trafficgen/option_reader.hpp"

namespace podwire::trafficgen {
namespace {

namespace po = boost::program_options;

struct Option {
  const char* name;
  const char* value_name;  // null: a switch
  const char* help;
};
struct Group {
  const char* title;
  std::vector<Option> options;
};

const std::vector<Group>& groups() {
  static const std::vector<Group> all{
      {"The switch's two sides",
       {{"port", "DEVICE",
         "give it twice, for side A and side B: memif:PATH, vhost:PATH or devargs (see below)"},
        {"mac", "MAC", "twice, in the same order; default: 02:00:00:00:03:01 and 02:00:00:00:03:02"},
        {"destination-mac", "MAC",
         "twice: where A and B send to; default: each other. A router's for routed traffic"},
        {"address", "IP", "twice, IPv4 or IPv6; default: 198.18.0.1 and 198.18.0.2 (RFC 2544 appendix C)"},
        {"direction", "both|a-to-b|b-to-a", "who sends in a trial; default: both"},
        {"queues", "N",
         "receive and transmit queues of each port, bursts go out on them in turn; default: 1"},
        {"descriptors", "N", "of each queue, where the driver lets one choose; default: 1024"},
        {"link-time", "S", "wait so long for sockets, links and the first frame; default: 10"}}},
      {"Traffic",
       {{"size", "LIST",
         "frame bytes with the 4 of the FCS, as RFC 2544 counts (64 is 60 in memory), 64 (IPv6: 82) "
         "to 9600, or imix (64, 594, 1518 as 7:4:1); default: 64"},
        {"flows", "LIST", "different flows, 1 to 16M; default: 1"},
        {"vary", "ports|sources|destinations",
         "what makes flows different: UDP ports, source or destination "
         "addresses counted upwards; default: ports"},
        {"udp-ports", "SOURCE,DESTINATION", "of the first flow; default: 10000,20000"}}},
      {"Method",
       {{"trial", "S", "seconds of one trial; RFC 2544 says 60; default: 2"},
        {"trials", "N", "at each rate, the majority decides; default: 1"},
        {"retries", "N",
         "at most so many more trials in the place of one that lost frames after this program itself was "
         "held up; default: 2"},
        {"resolution", "PERCENT", "the search ends when its bounds are this close; default: 1"},
        {"loss", "LIST", "percent of the frames that may be lost: 0 gives the NDR, others a PDR; default: 0"},
        {"repeat", "N", "searches, of which the median counts; default: 3"},
        {"max-rate", "PPS",
         "frames a second and direction not to exceed (800k, 2.5M); default: as fast as it goes"},
        {"warm-up", "S", "traffic before the first search of a size and flow count; default: 1"},
        {"settle", "S",
         "wait so long for frames under way at a trial's end, unless all are there; default: 0.2"},
        {"pause", "S", "rest between trials; RFC 2544 says 5; default: 0"},
        {"latency-at", "LIST",
         "percent of the first loss-free rate at which to measure latency, or none; default: 50,90"},
        {"latency-time", "S", "seconds of such a trial; default: 5"},
        {"burst", "N", "frames sent at once at most, 1 to 64; default: 16"}}},
      {"Results",
       {{"json", "FILE", "everything, each trial included; - is standard output"},
        {"markdown", "FILE", "a table; default: standard output when nothing else goes there"},
        {"svg", "FILE", "a chart"},
        {"quiet", nullptr, "no progress on standard error"}}},
      {"This machine",
       {{"cpu", "N", "CPU that sends and receives (not the switch's); default: any, which costs accuracy"},
        {"realtime", nullptr,
         "SCHED_FIFO 50 during trials: keeps other programs off the CPU, all of the time once sysctl "
         "kernel.sched_rt_runtime_us=-1"},
        {"memory", "MIB", "for packets, 128 to 65536; default: 256"},
        {"no-huge", nullptr, "4 KiB pages; default: hugepages if enough are free"},
        {"file-prefix", "NAME", "EAL's name for this process; default: trafficgen-<pid>"},
        {"eal", "ARGUMENT", "one more argument for DPDK's EAL; may be repeated"},
        {"help", nullptr, "this text"},
        {"version", nullptr, "print the version"}}}};
  return all;
}

po::options_description description_of(const Group& group) {
  po::options_description out(group.title, 110, 55);
  for (const auto& option : group.options) {
    if (option.value_name == nullptr)
      out.add_options()(option.name, option.help);
    else
      out.add_options()(option.name, po::value<Texts>()->value_name(option.value_name), option.help);
  }
  return out;
}

Result<po::variables_map> parse_words(const Texts& arguments) {
  po::options_description all;
  for (const auto& group : groups()) all.add(description_of(group));
  using Style = po::command_line_style::style_t;
  const int style = Style::allow_long | Style::long_allow_adjacent | Style::long_allow_next;
  try {
    po::variables_map map;
    po::store(po::command_line_parser(arguments).options(all).positional({}).style(style).run(), map);
    return map;
  } catch (const po::error& e) {
    return invalid(std::string(e.what()) + "; podwire-trafficgen --help lists the options");
  }
}

Result<FrameSize> frame_size(const std::string& text) {
  if (text == "imix") return FrameSize::imix();
  PODWIRE_TRY(const auto bytes, count_of("size", text, 64, kMaxSize));
  return FrameSize{static_cast<unsigned>(bytes)};
}

Result<double> share_of(const char* option, const std::string& text, double high) {
  PODWIRE_TRY(const double percent, number_of(option, text, 0, high));
  return percent / 100;
}

Result<std::pair<std::uint16_t, std::uint16_t>> port_pair(const std::string& text) {
  const auto parts = split(text);
  if (parts.size() != 2)
    return invalid("--udp-ports is \"" + text.substr(0, 64) + "\", must be two ports such as 10000,20000");
  PODWIRE_TRY(const auto source, count_of("udp-ports", parts[0], 1, 65535));
  PODWIRE_TRY(const auto destination, count_of("udp-ports", parts[1], 1, 65535));
  return std::pair(static_cast<std::uint16_t>(source), static_cast<std::uint16_t>(destination));
}

void read_traffic(OptionReader& r, Settings& s) {
  r.choice<Direction>(
      "direction", s.direction,
      {{"both", Direction::kBoth}, {"a-to-b", Direction::kAToB}, {"b-to-a", Direction::kBToA}});
  r.count("queues", s.queues, 1, 16);
  r.count("descriptors", s.descriptors, 64, 32768);
  r.seconds("link-time", s.link_seconds, 0.1);
  r.list("size", s.sizes, frame_size);
  r.list("flows", s.flows, [](const auto& text) { return count_of("flows", text, 1, kMaxFlows); });
  r.choice<Vary>(
      "vary", s.vary,
      {{"ports", Vary::kPorts}, {"sources", Vary::kSources}, {"destinations", Vary::kDestinations}});
  std::pair ports(s.source_port, s.destination_port);
  r.one("udp-ports", ports, port_pair);
  std::tie(s.source_port, s.destination_port) = ports;
}

void read_method(OptionReader& r, Settings& s) {
  auto& m = s.method;
  r.seconds("trial", m.trial_seconds, 0.01);
  r.count("trials", m.trials, 1, 99);
  r.count("retries", m.retries, 0, 99);
  r.one("resolution", m.resolution, [](const auto& text) -> Result<double> {
    PODWIRE_TRY(const double percent, number_of("resolution", text, 0.01, 50));
    return percent / 100;
  });
  r.list("loss", m.losses, [](const auto& text) { return share_of("loss", text, 50); });
  std::sort(m.losses.begin(), m.losses.end());
  r.count("repeat", m.repeat, 1, 99);
  r.one("max-rate", m.max_rate, [](const auto& text) { return rate_of("max-rate", text); });
  r.seconds("warm-up", m.warm_up_seconds, 0);
  r.seconds("settle", s.settle_seconds, 0.001);
  r.seconds("pause", s.pause_seconds, 0);
  if (r.all("latency-at") == Texts{"none"})
    m.latency_shares.clear();
  else
    r.list("latency-at", m.latency_shares,
           [](const auto& text) { return share_of("latency-at", text, 100); });
  r.seconds("latency-time", m.latency_seconds, 0.01);
  r.count("burst", s.burst, 1, 64);
}

void read_rest(OptionReader& r, Settings& s) {
  r.text("json", s.json);
  r.text("markdown", s.markdown);
  r.text("svg", s.svg);
  s.quiet = r.has("quiet");
  if (r.has("cpu")) {
    unsigned cpu = 0;
    r.count("cpu", cpu, 0, 1023);
    s.cpu = cpu;
  }
  r.count("memory", s.memory_mib, 128, 65536);
  s.no_huge = r.has("no-huge");
  s.realtime = r.has("realtime");
  r.text("file-prefix", s.file_prefix);
  s.eal_arguments = r.all("eal");
  if (s.json.empty() && s.markdown.empty() && s.svg != "-") s.markdown = "-";
}

Result<void> read_sides(OptionReader& r, Settings& s) {
  s.sides[0].mac = {{2, 0, 0, 0, 3, 1}};
  s.sides[1].mac = {{2, 0, 0, 0, 3, 2}};
  s.sides[0].address = IpAddr(Ipv4{{198, 18, 0, 1}});
  s.sides[1].address = IpAddr(Ipv4{{198, 18, 0, 2}});
  if (r.all("port").size() != 2)
    return invalid("--port is given " + std::to_string(r.all("port").size()) +
                   " times, must be given twice: the two sides of the switch, e.g. --port memif:/run/a.sock "
                   "--port memif:/run/b.sock");
  r.both("mac", [&](const auto& text, unsigned i) -> Result<void> {
    PODWIRE_TRY(s.sides[i].mac, parse_mac(text));
    return {};
  });
  s.sides[0].destination_mac = s.sides[1].mac;
  s.sides[1].destination_mac = s.sides[0].mac;
  r.both("destination-mac", [&](const auto& text, unsigned i) -> Result<void> {
    PODWIRE_TRY(s.sides[i].destination_mac, parse_mac(text));
    return {};
  });
  r.both("address", [&](const auto& text, unsigned i) -> Result<void> {
    PODWIRE_TRY(s.sides[i].address, parse_ip(text));
    return {};
  });
  PODWIRE_CHECK(r.finish());
  const auto ports = r.all("port");
  for (unsigned i = 0; i < 2; ++i) {
    PODWIRE_TRY(s.sides[i].device, parse_device(ports[i], i, s.sides[i].mac, s.queues));
    if (s.sides[i].mac.is_multicast())
      return invalid("--mac " + to_string(s.sides[i].mac) + " is a group address, which no port can have");
  }
  return {};
}

Result<void> check(const Settings& s) {
  const auto &a = s.sides[0], &b = s.sides[1];
  if (a.address.is_v4() != b.address.is_v4())
    return invalid("--address " + to_string(a.address) + " and " + to_string(b.address) +
                   " are of two families; give two IPv4 or two IPv6 addresses");
  if (a.address == b.address || a.mac == b.mac)
    return invalid("both sides have " +
                   (a.mac == b.mac ? "MAC " + to_string(a.mac) : "address " + to_string(a.address)) +
                   "; give each one of its own");
  for (const auto& size : s.sizes) {
    if (!size.is_imix() && size.bytes < smallest_size(s.ipv6()))
      return invalid("--size " + to_string(size) +
                     " has no room for IPv6, UDP and this program's signature; " +
                     std::to_string(smallest_size(true)) + " is the smallest");
  }
  const auto most = *std::max_element(s.flows.begin(), s.flows.end());
  const auto last_port = s.source_port + std::min(most, kPortsInTurn) - 1;
  const auto last_destination = s.destination_port + (most - 1) / kPortsInTurn;
  if (s.vary == Vary::kPorts && (last_port > 65535 || last_destination > 65535))
    return invalid("--flows " + std::to_string(most) + " from --udp-ports " + std::to_string(s.source_port) +
                   "," + std::to_string(s.destination_port) +
                   " go beyond port 65535; begin lower, or --vary sources");
  int on_output = 0;
  for (const auto* file : {&s.json, &s.markdown, &s.svg}) on_output += *file == "-" ? 1 : 0;
  if (on_output > 1) return invalid("only one of --json, --markdown and --svg can be - (standard output)");
  return {};
}

}  // namespace

Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments) {
  PODWIRE_TRY(const auto map, parse_words(arguments));
  CommandLine line;
  OptionReader reader(map);
  if (reader.has("help")) line.action = CommandLine::Action::kHelp;
  if (reader.has("version")) line.action = CommandLine::Action::kVersion;
  if (line.action != CommandLine::Action::kRun) return line;
  read_traffic(reader, line.settings);
  read_method(reader, line.settings);
  read_rest(reader, line.settings);
  PODWIRE_CHECK(reader.finish());
  PODWIRE_CHECK(read_sides(reader, line.settings));
  PODWIRE_CHECK(check(line.settings));
  return line;
}

std::string help_text() {
  std::ostringstream out;
  out << "podwire-trafficgen " PODWIRE_VERSION
         " - the loss-free rate and the latency of a switch, router or cable between two ports.\n\n"
         "Sends UDP frames into one or both of two DPDK ports, at rates found by bisection (RFC 2544 section "
         "26.1), and\n"
         "says at which the fewest were lost, then how long frames take at a share of that rate (section "
         "26.2). One CPU\n"
         "sends and receives: give it a CPU that nothing else uses. The switch must know both sides' "
         "addresses, or\n"
         "learn MAC addresses: ARP and neighbour discovery are not answered.\n\n"
         "  podwire-trafficgen --port memif:/run/a.sock --port memif:/run/b.sock --cpu 2\n"
         "  podwire-trafficgen --port vhost:/run/a.sock --port vhost:/run/b.sock --size 64,512,1518,imix "
         "--flows 1,10k\n"
         "  podwire-trafficgen --port 0000:01:00.0 --port 0000:01:00.1 --trial 60 --trials 3 --loss 0,0.1 "
         "--svg ndr.svg\n\n"
         "DEVICE is one of\n"
         "  memif:PATH[,role=client|server][,id=N][,secret=S][,rsize=LOG2][,bsize=BYTES][,zero-copy=yes]\n"
         "  vhost:PATH[,role=client|server][,queue_size=N]     a vhost-user switch's socket (role=server: we "
         "listen)\n"
         "  0000:01:00.0, net_af_packet0,iface=eth1, net_af_xdp0,iface=eth1, net_ring0, ...   any devargs of "
         "DPDK\n"
         "role=client is the default: the switch listens, and is started first.\n\n";
  for (const auto& group : groups()) out << description_of(group) << "\n";
  out << "Exit status: 0 measured, 1 failed, 2 the command line is wrong.\n";
  return out.str();
}

Conversation conversation_of(const Settings& settings, unsigned direction_index, std::uint32_t flows) {
  const auto& from = settings.sides[direction_index];
  const auto& to = settings.sides[1 - direction_index];
  return {from.mac,   from.destination_mac, from.address,
          to.address, settings.source_port, settings.destination_port,
          flows,      settings.vary};
}

const char* to_text(Direction direction) {
  switch (direction) {
    case Direction::kBoth:
      return "both";
    case Direction::kAToB:
      return "a-to-b";
    case Direction::kBToA:
      break;
  }
  return "b-to-a";
}

}  // namespace podwire::trafficgen
