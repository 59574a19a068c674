// msa eval text: how well the model foretells documents, without a memory.

#include <ATen/Parallel.h>

#include <cmath>
#include <cstdio>

#include "cli/command.h"
#include "cli/eval.h"
#include "msa/base/error.h"
#include "msa/corpus/document_reader.h"
#include "msa/corpus/passage_splitter.h"
#include "msa/corpus/passage_text.h"
#include "msa/train/compute_device.h"
#include "msa/train/parameters.h"
#include "msa/train/text_loss.h"

namespace msa::cli {
namespace {

constexpr int64_t kId = 7;  // of every document, in its frame

struct Flags {
  ModelFlags model;
  std::string documents;
  int64_t num_documents = 0;
  int64_t max_tokens = 480;
  bool is_json = false;
};

struct Texts {
  std::vector<train::ScoredText> passages;
  int64_t num_documents = 0;
  int64_t num_bytes = 0;  // of what is foretold
};

/// The framed document as it is encoded; the frame is not scored.
train::ScoredText framed(const text::PromptLayout& layout, const std::string& passage) {
  const text::Tokenizer& tokenizer = layout.tokenizer();
  const std::string id = "[" + std::to_string(kId) + "]";
  train::ScoredText text;
  text.tokens = layout.document(kId, passage).tokens;
  text.first = 1 + static_cast<int64_t>(tokenizer.encode(id + ".").size());
  text.end = static_cast<int64_t>(text.tokens.size()) - 1 -
             static_cast<int64_t>(tokenizer.encode(id).size());
  return text;
}

Texts read_texts(const Flags& flags, const text::PromptLayout& layout) {
  const corpus::DocumentReader::OnProblem on_problem = [](const corpus::InputProblem& problem) {
    throw Error(ErrorCode::kInvalidFormat, problem.file, ":", problem.line, ": ", problem.what);
  };
  corpus::DocumentReader reader(real_file_system(), {flags.documents}, on_problem);
  Texts texts;
  corpus::SourceDocument document;
  while ((flags.num_documents == 0 || texts.num_documents < flags.num_documents) &&
         reader.next(document)) {
    ++texts.num_documents;
    for (const corpus::Span& span : corpus::split_passages(document.text, layout.tokenizer(),
                                                           {.max_tokens = flags.max_tokens})) {
      const auto passage =
          std::string_view(document.text)
              .substr(static_cast<size_t>(span.start), static_cast<size_t>(span.end - span.start));
      const std::string text = corpus::passage_text(document.title, passage);
      texts.passages.push_back(framed(layout, text));
      texts.num_bytes += static_cast<int64_t>(text.size());
    }
  }
  MSA_CHECK(texts.num_documents > 0, flags.documents, " holds no document");
  return texts;
}

void run(const Flags& flags) {
  FileSystem& files = real_file_system();
  const at::Device device = train::open_compute_device(flags.model.device);
  if (flags.model.threads > 0) at::set_num_threads(flags.model.threads);
  const auto folder = flags.model.model_folder();
  const auto config = model::load_config(files, folder, flags.model.config_options());
  const auto tokenizer = text::Tokenizer::load(files, folder);
  const text::PromptLayout layout(*tokenizer, config.msa.top_k);
  const Texts texts = read_texts(flags, layout);

  auto parameters = train::Parameters::load(files, folder, config);
  if (!device.is_cpu()) parameters.move_to(device);
  const auto tensors = train::gather_tensors(
      config, [&](const std::string& name) { return parameters.find(name); }, at::kFloat);
  int64_t longest = 0;
  for (const auto& text : texts.passages) {
    longest = std::max(longest, static_cast<int64_t>(text.tokens.size()));
  }
  const train::LayerMath math(config, longest, device);
  const auto loss = train::text_loss(math, tensors, texts.passages, at::kFloat, device);
  MSA_CHECK(loss.num_tokens > 0, flags.documents, " has no text to foretell");

  const double nats = loss.nats / static_cast<double>(loss.num_tokens);
  const double bits = loss.nats / std::log(2) / static_cast<double>(texts.num_bytes);
  if (flags.is_json) {
    print_json({{"documents", texts.num_documents},
                {"tokens", loss.num_tokens},
                {"bytes", texts.num_bytes},
                {"nats_per_token", nats},
                {"perplexity", std::exp(nats)},
                {"bits_per_byte", bits}});
    return;
  }
  std::printf("%lld documents, %lld tokens\n", static_cast<long long>(texts.num_documents),
              static_cast<long long>(loss.num_tokens));
  std::printf("%.4f nats a token, perplexity %.2f, %.4f bits a byte\n", nats, std::exp(nats), bits);
}

}  // namespace

void add_eval_text(CLI::App& eval) {
  auto flags = std::make_shared<Flags>();
  CLI::App& command = *eval.add_subcommand("text", "Perplexity of documents, without a memory");
  command
      .add_option("DOCUMENTS", flags->documents,
                  "File or folder of documents, in any form that ingest reads")
      ->required();
  add_flag(command, "--documents", flags->num_documents, "The first N; 0 = all")
      ->check(CLI::Range(int64_t{0}, int64_t{1'000'000'000}));
  add_flag(command, "--max-tokens", flags->max_tokens, "Tokens of a passage; longer texts are cut")
      ->check(CLI::Range(int64_t{8}, int64_t{32'768}));
  add_flag(command, "--model", flags->model.folder, "Model folder (default: the embedded model)");
  add_flag(command, "--device", flags->model.device, "Compute on auto, cpu or gpu, in float32")
      ->check(CLI::IsMember({"auto", "cpu", "gpu"}));
  add_flag(command, "--threads", flags->model.threads, "Threads, 0 = one per core");
  command.add_flag("--json", flags->is_json, "Print the report as JSON");
  command.footer("Example: msa eval text wiki_intros.jsonl.zst --documents 2000");
  command.callback([flags] { run(*flags); });
}

}  // namespace msa::cli
