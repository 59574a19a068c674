#include "msa/train/run_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

namespace msa::train {
namespace {

constexpr double kWidth = 900;
constexpr double kHeight = 320;
constexpr double kLeft = 70;
constexpr double kRight = 270;
constexpr double kTop = 36;
constexpr double kBottom = 36;
constexpr size_t kMaxPoints = 600;  // of a curve
constexpr std::array kColours{"#2166ac", "#b2182b", "#1b7837", "#e08214", "#762a83", "#555555"};

using Curve = std::map<double, double>;  // by step
using Curves = std::map<std::string, Curve>;

struct Phase {
  double first_step = 0;
  std::string name;
};

struct Log {
  std::map<std::string, Curves> figures;  // by title
  std::vector<Phase> phases;
};

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

/// "0.25", "164K", "1.64M"; ticks beside 0 are 0.
std::string short_number(double value) {
  const double size = std::abs(value);
  char text[32];
  if (size >= 1e6) {
    std::snprintf(text, sizeof(text), "%.3gM", value / 1e6);
  } else if (size >= 1e4) {
    std::snprintf(text, sizeof(text), "%.3gK", value / 1e3);
  } else {
    std::snprintf(text, sizeof(text), "%.4g", size < 1e-12 ? 0 : value);
  }
  return text;
}

double number_of(const Json& line, const char* key) {
  return line.is_object() && line.contains(key) && line.at(key).is_number()
             ? line.at(key).get<double>()
             : std::nan("");
}

void add_point(Curves& curves, const std::string& name, double step, double value) {
  if (std::isfinite(step) && std::isfinite(value)) curves[name][step] = value;
}

void add_figures(Curves& curves, const Json& line, const char* key, const std::string& after,
                 double step) {
  if (!line.contains(key) || !line.at(key).is_object()) return;
  for (const auto& [name, value] : line.at(key).items()) {
    if (value.is_number()) add_point(curves, name + after, step, value.get<double>());
  }
}

Log read(std::span<const Json> lines) {
  Log log;
  for (const Json& line : lines) {
    const double step = number_of(line, "step");
    if (!std::isfinite(step)) continue;
    if (line.contains("memory_tokens")) {
      const std::string size = " at " + short_number(number_of(line, "memory_tokens")) + " tokens";
      const bool is_mining = line.value("kind", Json()) == "mining";
      add_figures(log.figures[is_mining ? "Training questions, mined" : "Held-back questions"],
                  line, "figures", size, step);
      continue;
    }
    if (line.contains("phase") && line.at("phase").is_string()) {
      const auto name = line.at("phase").get<std::string>();
      if (log.phases.empty() || log.phases.back().name != name) log.phases.push_back({step, name});
    }
    add_figures(log.figures["Losses"], line, "losses", "", step);
    add_figures(log.figures["Routing in the batch"], line, "routing", "", step);
    for (const auto& [title, key] : {std::pair{"Rate of learning", "rate"},
                                     {"Length of the gradient", "gradient_norm"},
                                     {"Tokens a second", "tokens_per_second"},
                                     {"FLOP/s of the model", "flops_per_second"},
                                     {"Share of peak FLOP/s", "flop_utilisation"},
                                     {"Steps skipped", "num_skipped"}}) {
      const double value = number_of(line, key);
      if (std::isfinite(value)) add_point(log.figures[title], key, step, value);
    }
  }
  return log;
}

/// Means over runs of points, so that there are at most kMaxPoints.
std::vector<std::pair<double, double>> thinned(const Curve& curve) {
  const size_t run = (curve.size() + kMaxPoints - 1) / kMaxPoints;
  std::vector<std::pair<double, double>> points;
  size_t count = 0;
  for (const auto& [step, value] : curve) {
    if (count++ % run == 0) points.emplace_back(0, 0);
    const auto done = static_cast<double>((count - 1) % run);
    points.back().first += (step - points.back().first) / (done + 1);
    points.back().second += (value - points.back().second) / (done + 1);
  }
  return points;
}

/// A distance of ticks that gives about `wanted` of them: 1, 2 or 5 times a power of ten.
double tick_distance(double range, double wanted) {
  const double rough = range / wanted;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double digit : {1.0, 2.0, 5.0}) {
    if (digit * power >= rough) return digit * power;
  }
  return 10 * power;
}

/// Values to pixels.
class Axis {
 public:
  Axis(double low, double high, double begin, double end)
      : low_(low), high_(high > low ? high : low + 1), begin_(begin), end_(end) {}

  double operator()(double value) const {
    return begin_ + (value - low_) / (high_ - low_) * (end_ - begin_);
  }
  template <typename Draw>
  void ticks(double wanted, Draw draw) const {
    const double distance = tick_distance(high_ - low_, wanted);
    const auto first = static_cast<int64_t>(std::ceil(low_ / distance - 1e-9));
    const auto last = static_cast<int64_t>(std::floor(high_ / distance + 1e-9));
    for (int64_t i = first; i <= last; ++i) {
      const double tick = static_cast<double>(i) * distance;
      draw(tick, (*this)(tick));
    }
  }

 private:
  double low_;
  double high_;
  double begin_;
  double end_;
};

void add_line(std::ostream& out, double x1, double y1, double x2, double y2, const char* more) {
  out << "<line x1=\"" << x1 << "\" y1=\"" << y1 << "\" x2=\"" << x2 << "\" y2=\"" << y2 << "\" "
      << more << "/>\n";
}

void add_text(std::ostream& out, double x, double y, const std::string& text, const char* anchor,
              const std::string& more = "") {
  out << "<text x=\"" << x << "\" y=\"" << y << "\" text-anchor=\"" << anchor << "\" " << more
      << ">" << escaped(text) << "</text>\n";
}

void add_drawing(std::ostream& out, const std::string& title, const Curves& curves,
                 const std::vector<Phase>& phases) {
  std::vector<std::pair<std::string, std::vector<std::pair<double, double>>>> drawn;
  double first = INFINITY, last = -INFINITY, low = INFINITY, high = -INFINITY;
  for (const auto& [name, curve] : curves) {
    drawn.emplace_back(name, thinned(curve));
    first = std::min(first, curve.begin()->first);
    last = std::max(last, curve.rbegin()->first);
    for (const auto& [step, value] : drawn.back().second) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  if (drawn.empty()) return;
  const double margin = high > low ? 0.04 * (high - low) : std::max(0.1 * std::abs(high), 1e-9);
  const Axis x(first, last, kLeft, kWidth - kRight);
  const Axis y(low - margin, high + margin, kHeight - kBottom, kTop);
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << kWidth << " " << kHeight
      << "\" width=\"" << kWidth << "\" height=\"" << kHeight << "\">\n";
  add_text(out, kLeft, 20, title, "start", "font-size=\"16\" font-weight=\"bold\"");
  x.ticks(7, [&](double value, double place) {
    add_line(out, place, kTop, place, kHeight - kBottom, "stroke=\"#eee\"");
    add_text(out, place, kHeight - kBottom + 18, short_number(value), "middle");
  });
  y.ticks(5, [&](double value, double place) {
    add_line(out, kLeft, place, kWidth - kRight, place, "stroke=\"#eee\"");
    add_text(out, kLeft - 8, place + 4, short_number(value), "end");
  });
  for (const Phase& phase : phases) {
    if (phase.first_step < first || phase.first_step > last) continue;
    const double place = x(phase.first_step);
    add_line(out, place, kTop, place, kHeight - kBottom,
             "stroke=\"#999\" stroke-dasharray=\"3 3\"");
    add_text(out, place + 4, kTop + 12, phase.name, "start", "fill=\"#777\"");
  }
  double label = kTop + 4;
  for (size_t i = 0; i < drawn.size(); ++i) {
    const auto& [name, points] = drawn[i];
    const char* colour = kColours[i % kColours.size()];
    out << "<polyline fill=\"none\" stroke=\"" << colour << "\" stroke-width=\"1.5\" points=\"";
    for (const auto& [step, value] : points) out << x(step) << "," << y(value) << " ";
    out << "\"/>\n";
    if (points.size() == 1) {
      out << "<circle cx=\"" << x(points[0].first) << "\" cy=\"" << y(points[0].second)
          << "\" r=\"3\" fill=\"" << colour << "\"/>\n";
    }
    add_text(out, kWidth - kRight + 8, label,
             name + ": " + short_number(curves.at(name).rbegin()->second), "start",
             std::string("fill=\"") + colour + "\"");
    label += 16;
  }
  out << "</svg>\n";
}

}  // namespace

std::string run_report(std::span<const Json> log, const std::string& title) {
  const Log read_log = read(log);
  std::ostringstream out;
  out << "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>"
      << escaped(title) << "</title>\n<style>body { font: 14px sans-serif; color: #222; margin: "
      << "2em; } svg { display: block; margin-bottom: 1.5em; font: 12px sans-serif; fill: #222; }"
      << "</style></head><body>\n<h1>" << escaped(title) << "</h1>\n";
  bool is_empty = true;
  for (const char* name :
       {"Losses", "Routing in the batch", "Held-back questions", "Training questions, mined",
        "Rate of learning", "Length of the gradient", "Tokens a second", "Share of peak FLOP/s",
        "Steps skipped"}) {
    const auto found = read_log.figures.find(name);
    if (found == read_log.figures.end() || found->second.empty()) continue;
    add_drawing(out, name, found->second, read_log.phases);
    is_empty = false;
  }
  if (is_empty) out << "<p>Nothing has been logged.</p>\n";
  out << "</body></html>\n";
  return out.str();
}

}  // namespace msa::train
