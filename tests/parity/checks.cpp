// What is computed and compared for each part of a golden set.

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <set>

#include "msa/base/error.h"
#include "tests/parity/golden_set.h"

namespace msa::parity {
namespace {

std::vector<int64_t> widened(const std::vector<int32_t>& values) {
  return {values.begin(), values.end()};
}

template <typename Roles>
std::vector<int64_t> role_numbers(const Roles& roles) {
  std::vector<int64_t> numbers;
  for (const auto role : roles) numbers.push_back(static_cast<int64_t>(role));
  return numbers;
}

model::SessionOptions behind_head(const TinyModel& tiny, const memory::ChunkSource& memory) {
  return {.head = &tiny.head, .memory = &memory, .first_position = tiny.layout->question_start()};
}

/// Row `row` of a [rows, V] block of expected logits.
std::span<const float> row_of(const std::vector<float>& block, int64_t row, size_t width) {
  if ((row + 1) * width > block.size()) {
    throw Error(ErrorCode::kInvalidFormat, "expected logits hold fewer than ", row + 1, " rows of ",
                width);
  }
  return std::span(block).subspan(row * width, width);
}

std::string lower_case(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

std::string text_of_document(const TinyModel& tiny, int64_t id) {
  for (const Json& document : tiny.documents) {
    if (document.at("id").get<int64_t>() == id) return document.at("text").get<std::string>();
  }
  throw Error(ErrorCode::kInvalidFormat, "encode/documents.jsonl has no document ", id);
}

/// What the engine does between two rounds: the written tokens stay, the named texts follow by
/// rising id.
void extend_conversation(const TinyModel& tiny, const std::vector<int32_t>& written,
                         const std::string& written_text, text::Prompt& prompt) {
  std::set<int64_t> ids;
  for (size_t i = written_text.find('['); i != std::string::npos;
       i = written_text.find('[', i + 1)) {
    ids.insert(std::stoll(written_text.substr(i + 1)));
  }
  if (ids.empty()) return;
  for (const int32_t token : written) {
    prompt.tokens.push_back(token);
    prompt.roles.push_back(text::kResponseRole);
  }
  text::PromptLayout::settle(prompt.roles);
  std::vector<std::string> texts;
  std::vector<text::AppendedText> appended;
  texts.reserve(ids.size());
  for (const int64_t id : ids) {
    texts.push_back(text_of_document(tiny, id));
    appended.push_back({id, texts.back()});
  }
  prompt.append(tiny.layout->appended_texts(appended));
}

}  // namespace

void check_encoding(Report& report, const GoldenSet& golden) {
  const TinyModel tiny = load_tiny(golden);
  const model::ModelConfig& config = tiny.transformer->config();
  for (size_t n = 0; n < tiny.documents.size(); ++n) {
    const Json& document = tiny.documents[n];
    const auto built = tiny.layout->document(document.at("id").get<int64_t>(),
                                             document.at("text").get<std::string>());
    report.equal("document tokens", "document " + std::to_string(n), widened(built.tokens),
                 integers(document.at("tokens")));
  }
  const auto encoded = tiny.transformer->encode_documents(tiny.tokens);
  for (size_t n = 0; n < tiny.documents.size(); ++n) {
    const std::vector<int64_t> got{encoded.num_chunks[n]};
    const std::vector<int64_t> wanted{tiny.documents[n].at("num_chunks").get<int64_t>()};
    report.equal("document chunks", "document " + std::to_string(n), got, wanted);
  }
  for (size_t slot = 0; slot < config.msa.router_layers.size(); ++slot) {
    const std::string layer = "layers." + std::to_string(config.msa.router_layers[slot]) + ".";
    const auto compare = [&](const char* name, const std::vector<float>& got) {
      const auto wanted = golden.tensor("encode/memory.safetensors", layer + name);
      if (wanted) {
        report.compare("pooled " + std::string(name), layer + name, got, *wanted, kMemoryTolerance);
      }
    };
    compare("k", encoded.key[slot]);
    compare("v", encoded.value[slot]);
    compare("routing_key", encoded.routing_key[slot]);
  }
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (const bool is_key : {true, false}) {
      const std::string name = "layers." + std::to_string(layer) + (is_key ? ".k" : ".v");
      const auto wanted = golden.tensor("encode/prompt_head.safetensors", name);
      const auto got = (is_key ? tiny.head.key : tiny.head.value)[layer].contiguous();
      if (wanted) {
        report.compare("prompt head", name,
                       std::span(got.data_ptr<float>(), static_cast<size_t>(got.numel())), *wanted,
                       kMemoryTolerance);
      }
    }
  }
}

void check_routing(Report& report, const GoldenSet& golden) {
  const TinyModel tiny = load_tiny(golden);
  const auto questions = golden.lines("route/questions.jsonl");
  const auto routes = golden.lines("route/routes.jsonl");
  for (const Json& question : questions) {
    const auto number = question.at("question").get<int64_t>();
    const std::string place = "question " + std::to_string(number);
    const auto built = tiny.layout->question(question.at("text").get<std::string>());
    report.equal("question tokens", place, widened(built.tokens), integers(question.at("tokens")));
    report.equal("question roles", place, role_numbers(built.roles),
                 integers(question.at("roles")));
    const RecordingSource recording(*tiny.memory);
    model::CpuSession session(*tiny.transformer, behind_head(tiny, recording));
    session.prefill(token_ids(question.at("tokens")), routing_marks(question.at("roles")));
    std::vector<Json> own;
    std::ranges::copy_if(routes, std::back_inserter(own),
                         [&](const Json& route) { return route.at("question") == number; });
    check_routes(report, "route", place, tiny, recording, session.routing(), own);
  }
}

void check_variants(Report& report, const GoldenSet& golden) {
  const auto questions = golden.lines("route/questions.jsonl");
  const auto variants = golden.lines("route/variants.jsonl");
  std::vector<Json> changes;
  for (const Json& line : variants) {
    if (std::ranges::find(changes, line.at("change")) == changes.end()) {
      changes.push_back(line.at("change"));
    }
  }
  for (const Json& change : changes) {
    const TinyModel tiny = load_tiny(golden, change);
    const auto& [key, value] = *change.items().begin();
    const std::string name =
        lower_case(key + "." + (value.is_string() ? value.get<std::string>() : to_line(value)));
    for (const Json& question : questions) {
      const auto number = question.at("question").get<int64_t>();
      std::vector<Json> own;
      std::ranges::copy_if(variants, std::back_inserter(own), [&](const Json& line) {
        return line.at("change") == change && line.at("question") == number;
      });
      if (own.empty()) continue;
      const RecordingSource recording(*tiny.memory);
      model::CpuSession session(*tiny.transformer, behind_head(tiny, recording));
      const auto logits =
          session.prefill(token_ids(question.at("tokens")), routing_marks(question.at("roles")));
      const std::string place = name + ".question." + std::to_string(number);
      check_routes(report, "variant " + name, place, tiny, recording, session.routing(), own);
      const auto wanted = golden.tensor("route/variants.safetensors", place + ".logits");
      if (wanted) {
        report.compare("variant " + name + " logits", place, logits, *wanted, kLogitTolerance);
      }
    }
    const auto encoded = tiny.transformer->encode_documents(tiny.tokens);
    const auto& layers = tiny.transformer->config().msa.router_layers;
    for (size_t slot = 0; slot < layers.size(); ++slot) {
      const std::string tensor = name + ".layers." + std::to_string(layers[slot]) + ".routing_key";
      const auto wanted = golden.tensor("route/variants.safetensors", tensor);
      if (wanted) {
        report.compare("variant " + name + " keys", tensor, encoded.routing_key[slot], *wanted,
                       kMemoryTolerance);
      }
    }
  }
}

void check_greedy(Report& report, const GoldenSet& golden) {
  const TinyModel tiny = load_tiny(golden);
  const auto questions = golden.lines("route/questions.jsonl");
  for (const Json& line : golden.lines("generate/greedy.jsonl")) {
    const auto number = line.at("question").get<int64_t>();
    const auto question = std::ranges::find_if(
        questions, [&](const Json& entry) { return entry.at("question") == number; });
    if (question == questions.end()) continue;
    const std::string place = "question." + std::to_string(number);
    const auto wanted = golden.tensor("generate/logits.safetensors", place);
    const auto tokens = integers(line.at("tokens"));
    model::CpuSession session(*tiny.transformer, behind_head(tiny, *tiny.memory));
    auto logits =
        session.prefill(token_ids(question->at("tokens")), routing_marks(question->at("roles")));
    std::vector<int64_t> written;
    for (size_t row = 0; row < tokens.size(); ++row) {
      if (wanted) {
        report.compare("greedy logits", place + " row " + std::to_string(row), logits,
                       row_of(*wanted, static_cast<int64_t>(row), logits.size()), kLogitTolerance);
      }
      written.push_back(argmax(logits));
      const auto next = static_cast<int32_t>(written.back());
      if (row + 1 < tokens.size()) logits = session.extend(std::span(&next, 1));
    }
    report.equal("greedy tokens", place, written, tokens);
  }
}

void check_interleave(Report& report, const GoldenSet& golden, int trace) {
  const std::string stem = "generate/interleave_" + std::to_string(trace);
  const std::string output = "interleave " + std::to_string(trace);
  const TinyModel tiny = load_tiny(golden);
  const Json whole = golden.json(stem + ".json");
  const auto question = whole.at("question").get<std::string>();
  const RecordingSource recording(*tiny.memory);
  model::CpuSession session(*tiny.transformer, behind_head(tiny, recording));
  std::vector<int32_t> held;
  text::Prompt built_prompt = tiny.layout->question(question);
  const auto compare_logits = [&](const std::string& name, int64_t row,
                                  std::span<const float> logits) {
    const auto wanted = golden.tensor(stem + ".safetensors", name);
    if (wanted) {
      report.compare(output + " logits", name + " row " + std::to_string(row), logits,
                     row_of(*wanted, row, logits.size()), kLogitTolerance);
    }
  };
  for (const Json& round : whole.at("rounds")) {
    const auto number = round.at("round").get<int64_t>();
    const std::string name = "round." + std::to_string(number);
    const auto tokens = token_ids(round.at("tokens"));
    report.equal(output + " prompt tokens", name, widened(built_prompt.tokens),
                 integers(round.at("tokens")));
    report.equal(output + " prompt roles", name, role_numbers(built_prompt.roles),
                 integers(round.at("roles")));
    const auto common = std::ranges::mismatch(held, tokens).in1 - held.begin();
    session.truncate(common);
    auto logits =
        session.prefill(std::span(tokens).subspan(common), routing_marks(round.at("roles")));
    check_routes(report, output, name, tiny, recording, session.routing(),
                 round.at("routes").get<std::vector<Json>>());
    compare_logits(name + ".logits", 0, logits);
    held = tokens;
    int64_t row = 0;
    for (const int32_t token : token_ids(round.at("forced_tokens"))) {
      logits = session.extend(std::span(&token, 1));
      compare_logits(name + ".logits", ++row, logits);
      held.push_back(token);
    }
    extend_conversation(tiny, token_ids(round.at("forced_tokens")),
                        round.at("forced_text").get<std::string>(), built_prompt);
  }
  const Json& last = whole.at("rounds").back();
  if (!last.contains("answer_prompt")) return;
  const Json& prompt = last.at("answer_prompt");
  const auto built = tiny.layout->answer_prompt(question);
  report.equal(output + " answer prompt", "tokens", widened(built.tokens),
               integers(prompt.at("tokens")));
  const int64_t before = session.num_tokens();
  const auto answer = integers(last.at("answer_tokens"));
  for (const bool is_causal : {false, true}) {
    const std::string name = is_causal ? "answer.logits_causal" : "answer.logits";
    if (!golden.tensor(stem + ".safetensors", name)) continue;
    session.truncate(before);
    auto logits = session.extend(
        token_ids(prompt.at("tokens")),
        is_causal ? model::AnswerPromptAttention::kCausal : model::AnswerPromptAttention::kFull);
    std::vector<int64_t> written;
    for (size_t row = 0; row < answer.size(); ++row) {
      compare_logits(name, static_cast<int64_t>(row), logits);
      written.push_back(argmax(logits));
      const auto next = static_cast<int32_t>(answer[row]);
      if (row + 1 < answer.size()) logits = session.extend(std::span(&next, 1));
    }
    if (!is_causal) report.equal(output + " answer tokens", name, written, answer);
  }
}

void check_qwen3(Report& report, const GoldenSet& golden) {
  const auto transformer =
      model::Transformer::load(real_file_system(), golden.folder() / "qwen3", {});
  for (const Json& line : golden.lines("qwen3/prompts.jsonl")) {
    const auto number = line.at("prompt").get<int64_t>();
    const std::string place = "prompt." + std::to_string(number);
    const auto tokens = token_ids(line.at("tokens"));
    const auto wanted = golden.tensor("qwen3/logits.safetensors", place + ".float32");
    model::CpuSession session(*transformer, {});
    const auto all = session.all_logits(tokens).contiguous();
    if (wanted) {
      report.compare("qwen3 logits", place,
                     std::span(all.data_ptr<float>(), static_cast<size_t>(all.numel())), *wanted,
                     kLogitTolerance);
    }
    const auto greedy = integers(line.at("greedy"));
    std::vector<int64_t> written;
    int64_t next = all[all.size(0) - 1].argmax().item<int64_t>();
    while (written.size() < greedy.size()) {
      written.push_back(next);
      const auto token = static_cast<int32_t>(next);
      next = argmax(session.extend(std::span(&token, 1)));
    }
    report.equal("qwen3 greedy tokens", place, written, greedy);
  }
}

}  // namespace msa::parity
