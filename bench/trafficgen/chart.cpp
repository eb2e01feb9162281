// The SVG of a report: bars of the rates, and below them ranges of latency on a logarithmic scale.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "bench/trafficgen/report.hpp"

namespace podwire::trafficgen {
namespace {

constexpr double kLeft = 70, kTop = 50, kPlotHeight = 220, kGap = 90, kSlot = 46;
constexpr const char* kColours[] = {"#2b6cb0", "#dd6b20", "#2f855a", "#805ad5"};

std::string number(double value, int digits = 1) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string label(double x, double y, const std::string& text, const char* anchor = "middle") {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\">" +
         escaped(text) + "</text>\n";
}

std::string line(double x1, double y1, double x2, double y2, const char* colour, double width = 1) {
  return "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) + "\" y2=\"" +
         number(y2) + "\" stroke=\"" + colour + "\" stroke-width=\"" + number(width) + "\"/>\n";
}

// 1, 2 or 5 times a power of ten, at least `value`.
double round_up(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (value <= step * power) return step * power;
  }
  return 10 * power;
}

struct Frame {
  double slots = 0;  // bars in all
  double bottom = 0;
  double right() const { return kLeft + std::max(slots * kSlot, 300.0); }
};

std::string cell_name(const Cell& cell) {
  return to_string(cell.size) + (cell.size.is_imix() ? "" : " B") + ", " + std::to_string(cell.flows);
}

std::string rate_plot(const Report& report, const Frame& frame) {
  double most = 0;
  for (const auto& cell : report.cells) {
    for (const auto& rate : cell.rates) most = std::max(most, total_rate(report, rate.highest()) / 1e6);
  }
  const double scale = round_up(std::max(most, 1e-6));
  const auto y_of = [&](double mpps) { return frame.bottom - mpps / scale * kPlotHeight; };
  std::string out =
      label(kLeft, frame.bottom - kPlotHeight - 22, "Mpps without more loss than tolerated", "start");
  for (int i = 0; i <= 4; ++i) {
    const double value = scale * i / 4;
    out += line(kLeft, y_of(value), frame.right(), y_of(value), "#ddd");
    out += label(kLeft - 8, y_of(value) + 4, number(value, scale < 1 ? 4 : 2), "end");
  }
  double x = kLeft;
  for (const auto& cell : report.cells) {
    const double begin = x;
    for (std::size_t i = 0; i < cell.rates.size(); ++i, x += kSlot) {
      const auto& rate = cell.rates[i];
      const double y = y_of(total_rate(report, rate.median()) / 1e6), middle = x + kSlot / 2;
      out += "<rect x=\"" + number(x + 6) + "\" y=\"" + number(y) + "\" width=\"" + number(kSlot - 12) +
             "\" height=\"" + number(frame.bottom - y) + "\" fill=\"" + kColours[i % std::size(kColours)] +
             "\"/>\n";
      out += line(middle, y_of(total_rate(report, rate.lowest()) / 1e6), middle,
                  y_of(total_rate(report, rate.highest()) / 1e6), "#111", 1.5);
      out += label(middle, y - 5, number(total_rate(report, rate.median()) / 1e6, 2));
      out += label(middle, frame.bottom + 15, number(rate.loss * 100, rate.loss == 0 ? 0 : 2) + " %");
    }
    out += label((begin + x) / 2, frame.bottom + 31, cell_name(cell));
  }
  return out;
}

std::string latency_plot(const Report& report, const Frame& frame) {
  double most = 0, least = 1e12;
  const auto each = [&](auto&& call) {
    for (const auto& cell : report.cells) {
      for (const auto& at : cell.latency) {
        for (const auto& d : at.trial.direction) {
          if (d.active && d.latency && d.latency->count() != 0)
            call(cell, at, percentiles(report, *d.latency));
        }
      }
    }
  };
  each([&](const auto&, const auto&, const Percentiles& p) {
    most = std::max(most, p.highest);
    least = std::min(least, std::max(p.lowest, 0.01));
  });
  if (most == 0) return "";
  const double low = std::floor(std::log10(least)), high = std::max(std::ceil(std::log10(most)), low + 1);
  const auto y_of = [&](double us) {
    return frame.bottom - (std::log10(std::max(us, 0.01)) - low) / (high - low) * kPlotHeight;
  };
  std::string out =
      label(kLeft, frame.bottom - kPlotHeight - 22,
            "Latency in µs at a share of the first rate: min to max; marks at p50, p99, p99.9", "start");
  for (double power = low; power <= high; ++power) {
    const double value = std::pow(10.0, power);
    out += line(kLeft, y_of(value), frame.right(), y_of(value), "#ddd");
    out += label(kLeft - 8, y_of(value) + 4, number(value, power < 0 ? 2 : 0), "end");
  }
  double x = kLeft + kSlot / 2;
  each([&](const Cell& cell, const LatencyResult& at, const Percentiles& p) {
    out += line(x, y_of(p.lowest), x, y_of(p.highest), "#999", 2);
    out += line(x - 12, y_of(p.p50), x + 12, y_of(p.p50), kColours[0], 4);
    out += line(x - 10, y_of(p.p99), x + 10, y_of(p.p99), kColours[1], 3);
    out += line(x - 8, y_of(p.p999), x + 8, y_of(p.p999), "#c53030", 2);
    out += label(x, frame.bottom + 15, number(at.share * 100, 0) + " %");
    out += label(x, frame.bottom + 31, to_string(cell.size));
    x += kSlot;
  });
  return out;
}

}  // namespace

std::string to_svg(const Report& report) {
  std::size_t bars = 0, ranges = 0;
  for (const auto& cell : report.cells) {
    bars += cell.rates.size();
    for (const auto& at : cell.latency) ranges += at.trial.directions();
  }
  Frame rates{static_cast<double>(bars), kTop + 20 + kPlotHeight};
  Frame latency{static_cast<double>(ranges), rates.bottom + kGap + kPlotHeight};
  rates.slots = latency.slots = std::max(rates.slots, latency.slots);
  const double width = rates.right() + 30, height = (ranges == 0 ? rates.bottom : latency.bottom) + 50;
  std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + number(width, 0) + "\" height=\"" +
                    number(height, 0) + "\" font-family=\"sans-serif\" font-size=\"11\">\n" +
                    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  const auto& sides = report.settings.sides;
  out += label(kLeft, 20, sides[0].device.text + " and " + sides[1].device.text, "start");
  out += label(kLeft, 36, report.date + ", direction " + to_text(report.settings.direction), "start");
  out += rate_plot(report, rates);
  if (ranges != 0) out += latency_plot(report, latency);
  return out + "</svg>\n";
}

}  // namespace podwire::trafficgen
