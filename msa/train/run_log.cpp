#include "msa/train/run_log.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <span>

#include "msa/base/error.h"

namespace msa::train {
namespace {

constexpr uint64_t kMaxLogBytes = uint64_t{4} << 30;

std::string printed(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string printed(const char* format, ...) {
  char text[128];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return text;
}

/// JSON knows no number that is not finite.
OrderedJson number(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

OrderedJson object_of(const std::vector<Figure>& figures) {
  OrderedJson object = OrderedJson::object();
  for (const auto& [name, value] : figures) object[name] = number(value);
  return object;
}

std::string list_of(const std::vector<Figure>& figures, const char* format) {
  std::string text;
  for (const auto& [name, value] : figures) {
    text += (text.empty() ? "" : " ") + name + " " + printed(format, value);
  }
  return text;
}

std::string rate_text(double tokens_per_second) {
  if (tokens_per_second >= 1e6) return printed("%.2fM tokens/s", tokens_per_second / 1e6);
  if (tokens_per_second >= 1e3) return printed("%.1fk tokens/s", tokens_per_second / 1e3);
  return printed("%.0f tokens/s", tokens_per_second);
}

}  // namespace

OrderedJson to_json(const StepReport& report) {
  OrderedJson json{{"kind", "step"},
                   {"step", report.step},
                   {"phase", report.phase},
                   {"seconds", number(report.seconds)},
                   {"tokens", report.tokens},
                   {"rate", number(report.rate)},
                   {"gradient_norm", number(report.gradient_norm)},
                   {"tokens_per_second", number(report.tokens_per_second)}};
  if (report.flops_per_second > 0) json["flops_per_second"] = number(report.flops_per_second);
  if (report.flop_utilisation > 0) json["flop_utilisation"] = number(report.flop_utilisation);
  json["num_skipped"] = report.num_skipped;
  json["losses"] = object_of(report.losses);
  json["routing"] = object_of(report.routing);
  if (!report.skipped.empty()) json["skipped"] = report.skipped;
  return json;
}

OrderedJson to_json(const EvaluationReport& report) {
  return {{"kind", "evaluation"},
          {"step", report.step},
          {"phase", report.phase},
          {"memory_tokens", report.memory_tokens},
          {"figures", object_of(report.figures)}};
}

OrderedJson to_json(const MiningReport& report) {
  return {{"kind", "mining"},
          {"step", report.step},
          {"phase", report.phase},
          {"memory_tokens", report.memory_tokens},
          {"num_questions", report.num_questions},
          {"num_groups", report.num_groups},
          {"seconds", number(report.seconds)},
          {"figures", object_of(report.figures)}};
}

std::string progress_line(const StepReport& report) {
  std::string line = "step " + std::to_string(report.step) + " " + report.phase;
  if (!report.losses.empty()) line += " | " + list_of(report.losses, "%.4f");
  if (!report.routing.empty()) line += " | " + list_of(report.routing, "%.3f");
  line += printed(" | rate %.1e | norm %.2f | ", report.rate, report.gradient_norm);
  line += rate_text(report.tokens_per_second);
  if (report.flop_utilisation > 0) {
    line += printed(" | %.0f%% of peak", 100 * report.flop_utilisation);
  } else if (report.flops_per_second > 0) {
    line += printed(" | %.1f GFLOP/s", report.flops_per_second / 1e9);
  }
  if (report.num_skipped > 0) line += " | " + std::to_string(report.num_skipped) + " skipped";
  return line;
}

std::string progress_line(const EvaluationReport& report) {
  return "step " + std::to_string(report.step) + " " + report.phase + " | " +
         std::to_string(report.memory_tokens) + " tokens in memory | " +
         list_of(report.figures, "%.3f");
}

std::string progress_line(const MiningReport& report) {
  return "step " + std::to_string(report.step) + " " + report.phase + " | mined " +
         std::to_string(report.memory_tokens) + " tokens with " +
         std::to_string(report.num_questions) + printed(" questions in %.1f s | ", report.seconds) +
         list_of(report.figures, "%.3f") + " | " + std::to_string(report.num_groups) + " groups";
}

RunLog::RunLog(std::unique_ptr<File> file) : file_(std::move(file)) {}

std::unique_ptr<RunLog> RunLog::open(FileSystem& files, const std::filesystem::path& path,
                                     int64_t step, const std::set<std::string>& to_come) {
  const auto is_kept = [&](const Json& line) {
    if (!json_has(line, "step") || !line.at("step").is_number_integer()) return false;
    const auto of = line.at("step").get<int64_t>();
    const bool is_to_come = of == step && json_has(line, "kind") && line.at("kind").is_string() &&
                            to_come.contains(line.at("kind").get<std::string>());
    return of <= step && !is_to_come;
  };
  std::string kept;
  if (step > 0 && files.exists(path)) {
    for (const Json& line : read_log(files, path)) {
      if (is_kept(line)) kept += to_line(line) + "\n";
    }
  }
  const std::filesystem::path temporary = path.string() + ".tmp";
  auto file = files.create(temporary);
  file->append(std::as_bytes(std::span(kept)));
  file->sync();
  files.rename(temporary, path);
  files.sync_directory(path.has_parent_path() ? path.parent_path() : ".");
  return std::unique_ptr<RunLog>(new RunLog(std::move(file)));
}

void RunLog::add(const OrderedJson& line) {
  MSA_CHECK(line.is_object() && line.contains("step"), "a line of the log must have a step");
  const std::string text = to_line(line) + "\n";
  file_->append(std::as_bytes(std::span(text)));
}

void RunLog::sync() { file_->sync(); }

std::vector<Json> read_log(FileSystem& files, const std::filesystem::path& path) {
  const std::string text = read_file(files, path, kMaxLogBytes);
  std::vector<Json> lines;
  size_t begin = 0;
  for (size_t end = 0; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    try {
      lines.push_back(parse_json(std::string_view(text).substr(begin, end - begin), path.string()));
    } catch (const Error&) {
      break;  // a crash left it
    }
  }
  return lines;
}

}  // namespace msa::train
