#include "tests/parity/golden_set.h"

#include <algorithm>
#include <sstream>

#include "msa/base/error.h"
#include "msa/base/file_system.h"
#include "msa/memory/memory_source.h"
#include "msa/storage/safetensors.h"

namespace msa::parity {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;

}  // namespace

bool GoldenSet::has(const std::string& file) const {
  return real_file_system().exists(folder_ / file);
}

Json GoldenSet::json(const std::string& file) const {
  return parse_json(read_file(real_file_system(), folder_ / file, kMaxFileBytes), file);
}

std::vector<Json> GoldenSet::lines(const std::string& file) const {
  std::istringstream text(read_file(real_file_system(), folder_ / file, kMaxFileBytes));
  std::vector<Json> values;
  for (std::string line; std::getline(text, line);) {
    if (!line.empty()) values.push_back(parse_json(line, file));
  }
  return values;
}

std::optional<std::vector<float>> GoldenSet::tensor(const std::string& file,
                                                    const std::string& name) const {
  if (!has(file)) return std::nullopt;
  const auto tensors = storage::SafetensorsFile::open(real_file_system(), folder_ / file);
  const auto found = tensors->tensors().find(name);
  if (found == tensors->tensors().end()) return std::nullopt;
  std::vector<float> numbers(found->second.num_bytes / sizeof(float));
  tensors->read(name, std::as_writable_bytes(std::span(numbers)));
  return numbers;
}

std::vector<int64_t> integers(const Json& array) { return array.get<std::vector<int64_t>>(); }
std::vector<int32_t> token_ids(const Json& array) { return array.get<std::vector<int32_t>>(); }
std::vector<float> floats(const Json& array) { return array.get<std::vector<float>>(); }

std::vector<bool> routing_marks(const Json& roles) {
  std::vector<bool> marks;
  for (const Json& role : roles) marks.push_back(role.get<int>() == 0);
  return marks;
}

int64_t argmax(std::span<const float> logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

TinyModel load_tiny(const GoldenSet& golden, const Json& changes) {
  FileSystem& files = real_file_system();
  const auto folder = golden.folder() / "tiny-msa";
  TinyModel tiny;
  // The numbers come from the published inference code.
  model::TransformerOptions options{.precision = model::Precision::kFloat32,
                                    .config = {.routing = model::RoutingConvention::kPublished,
                                               .allow_two_top_k = true,
                                               .msa_changes = changes}};
  tiny.transformer = model::Transformer::load(files, folder, options);
  tiny.tokenizer = text::Tokenizer::load(files, folder);
  tiny.layout =
      std::make_unique<text::PromptLayout>(*tiny.tokenizer, tiny.transformer->config().msa.top_k);
  tiny.head = tiny.transformer->encode_head(tiny.layout->prompt_head().tokens);
  if (golden.has("encode/documents.jsonl")) {
    tiny.documents = golden.lines("encode/documents.jsonl");
    std::vector<int64_t> ids;
    for (const Json& document : tiny.documents) {
      tiny.tokens.push_back(token_ids(document.at("tokens")));
    }
    tiny.memory = std::make_unique<memory::MemorySource>(
        tiny.transformer->config().memory_shape(), tiny.transformer->encode_documents(tiny.tokens),
        kernels::NumberType::kFloat32);
  }
  return tiny;
}

std::vector<kernels::ScoredDocument> RecordingSource::route(
    int64_t layer, const memory::RoutingQuery& query, int64_t top_k,
    std::span<float> document_scores) const {
  std::vector<float>& scores = scores_[layer];
  scores.resize(num_documents());
  auto selected = source_.route(layer, query, top_k, scores);
  if (!document_scores.empty()) std::ranges::copy(scores, document_scores.begin());
  return selected;
}

void check_routes(Report& report, const std::string& output, const std::string& place,
                  const TinyModel& tiny, const RecordingSource& recording,
                  const model::RoutingResult& routing, const std::vector<Json>& routes) {
  for (const Json& route : routes) {
    const auto layer = route.at("layer").get<int64_t>();
    const std::string where = place + " layer " + std::to_string(layer);
    const int64_t slot = tiny.transformer->config().router_slot(layer);
    if (slot < 0) {
      report.fail(output + " scores", where, "not a router layer");
      continue;
    }
    report.compare(output + " scores", where, recording.scores().at(slot),
                   floats(route.at("scores")), kScoreTolerance);
    std::vector<int64_t> selected;
    for (const auto& choice : routing.selected.at(slot)) selected.push_back(choice.document);
    report.equal(output + " selected", where, selected, integers(route.at("selected")));
  }
}

}  // namespace msa::parity
