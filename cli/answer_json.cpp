#include "cli/answer_json.h"

#include <cmath>
#include <cstdio>

namespace msa::cli {
namespace {

/// To so many units in one; the division keeps the shortest decimal form.
double rounded(double value, double units) { return std::round(value * units) / units; }

OrderedJson milliseconds(double value) { return rounded(value, 1e3); }

OrderedJson documents_json(const std::vector<engine::ScoredPassage>& documents) {
  OrderedJson list = OrderedJson::array();
  for (const auto& document : documents) {
    list.push_back({{"id", document.id},
                    {"name", document.name},
                    {"score", rounded(static_cast<double>(document.score), 1e6)}});
  }
  return list;
}

OrderedJson layers_json(const std::vector<engine::Round::Layer>& layers) {
  OrderedJson list = OrderedJson::array();
  for (const auto& layer : layers) {
    OrderedJson routed = OrderedJson::array();
    for (const auto& [id, score] : layer.passages) {
      routed.push_back({{"id", id}, {"score", rounded(static_cast<double>(score), 1e6)}});
    }
    list.push_back({{"layer", layer.layer}, {"documents", std::move(routed)}});
  }
  return list;
}

OrderedJson timing_json(const engine::Timing& timing) {
  return {{"prefill", milliseconds(timing.prefill_ms)},
          {"route", milliseconds(timing.route_ms)},
          {"write", milliseconds(timing.write_ms)},
          {"total", milliseconds(timing.total_ms)}};
}

void add_line(std::string& text, const char* format, auto... values) {
  char line[512];
  std::snprintf(line, sizeof line, format, values...);
  text += line;
}

}  // namespace

OrderedJson to_json(const engine::Answer& answer) {
  OrderedJson evidence = OrderedJson::array();
  for (const auto& item : answer.evidence) {
    evidence.push_back({{"document", item.id},
                        {"name", item.name},
                        {"start", item.start},
                        {"end", item.end},
                        {"quote", item.quote}});
  }
  OrderedJson rounds = OrderedJson::array();
  for (const auto& round : answer.rounds) {
    rounds.push_back({{"routed", layers_json(round.routed)},
                      {"written", round.written},
                      {"ids", round.ids},
                      {"appended", round.appended},
                      {"prompt_tokens", round.prompt_tokens},
                      {"reused_tokens", round.reused_tokens},
                      {"written_tokens", round.written_tokens},
                      {"route_ms", milliseconds(round.route_ms)},
                      {"total_ms", milliseconds(round.total_ms)}});
  }
  OrderedJson probability;  // null where the model did not choose to decline
  if (answer.decline_probability) probability = rounded(*answer.decline_probability, 1e6);
  return {{"question", answer.question},
          {"answer", answer.answer},
          {"declined", answer.is_declined},
          {"decline_probability", std::move(probability)},
          {"documents", documents_json(answer.documents)},
          {"evidence", std::move(evidence)},
          {"rounds", std::move(rounds)},
          {"usage",
           {{"prompt_tokens", answer.usage.prompt_tokens},
            {"completion_tokens", answer.usage.completion_tokens},
            {"rounds", answer.usage.rounds},
            {"truncated", answer.is_truncated}}},
          {"timing_ms", timing_json(answer.timing)}};
}

OrderedJson to_json(const engine::RouteResult& result) {
  return {{"question", result.question},
          {"documents", documents_json(result.documents)},
          {"layers", layers_json(result.layers)},
          {"timing_ms", timing_json(result.timing)}};
}

std::string to_text(const engine::Answer& answer, bool shows_trace) {
  std::string text = answer.answer + "\n";
  for (const auto& item : answer.evidence) {
    text += "  [" + std::to_string(item.id) + "] " + item.name + ", bytes " +
            std::to_string(item.start) + "-" + std::to_string(item.end) + ": \"" + item.quote +
            "\"\n";
  }
  if (shows_trace) {
    int number = 0;
    for (const auto& round : answer.rounds) {
      add_line(text, "  round %d: %lld tokens read, %lld reused, routed in %.1f ms of %.1f ms\n",
               ++number, static_cast<long long>(round.prompt_tokens),
               static_cast<long long>(round.reused_tokens), round.route_ms, round.total_ms);
      for (const auto& layer : round.routed) {
        add_line(text, "    layer %lld:", static_cast<long long>(layer.layer));
        for (size_t i = 0; i < layer.passages.size() && i < 6; ++i) {
          add_line(text, " [%lld] %.3f", static_cast<long long>(layer.passages[i].first),
                   static_cast<double>(layer.passages[i].second));
        }
        text += layer.passages.size() > 6 ? " ...\n" : "\n";
      }
      text += "    wrote " + round.written + "\n";
    }
  }
  add_line(text, "  %.0f ms (%.0f reading, of which %.0f routing; %.0f writing)\n",
           answer.timing.total_ms, answer.timing.prefill_ms, answer.timing.route_ms,
           answer.timing.write_ms);
  return text;
}

}  // namespace msa::cli
