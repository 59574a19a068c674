// config.json and generation_config.json of a model folder, and the TOML file of a training run:
// the first byte of an input says which.

#include <algorithm>

#include "msa/model/config.h"
#include "msa/train/config.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/json_mutation.h"
#include "tests/support/memory_files.h"

namespace msa::fuzz {
namespace {

void check_model(const std::string& text, bool is_generation) {
  static const std::string plain =
      R"({"model_type":"qwen3","num_hidden_layers":2,"hidden_size":8,"intermediate_size":8,)"
      R"("num_attention_heads":2,"num_key_value_heads":1,"vocab_size":4,"rms_norm_eps":1e-6,)"
      R"("rope_theta":10000,"head_dim":4})";
  MemoryFiles files;
  files.put("model/config.json", is_generation ? plain : text);
  if (is_generation) files.put("model/generation_config.json", text);
  accepts("model/", [&] {
    const model::ModelConfig config = model::load_config(files, "model");
    expect(config.num_heads % config.num_kv_heads == 0 && config.head_dim % 2 == 0, "odd heads");
    for (const int64_t layer : config.msa.router_layers) {
      expect(layer >= 0 && layer < config.num_layers, "a router layer that is not there");
      expect(config.router_slot(layer) >= 0, "a router layer without a slot");
    }
    for (const int64_t token : config.end_tokens) {
      expect(token >= 0 && token < config.vocab_size, "an end token outside the vocabulary");
    }
  });
}

void check_run(const std::string& text) {
  accepts("run.toml", [&] {
    const train::TrainConfig config = train::parse_config(text, "run.toml", "/folder");
    const std::string printed = train::print_config(config);
    const train::TrainConfig again = train::parse_config(printed, "run.toml", "/folder");
    expect(train::print_config(again) == printed, "a config that prints otherwise", printed);
  });
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa::fuzz;
  if (size == 0) return 0;
  const std::string text = text_of(data + 1, size - 1);
  switch (data[0]) {
    case 'g':
      check_model(text, true);
      break;
    case 't':
      check_run(text);
      break;
    default:
      check_model(text, false);
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  using namespace msa::fuzz;
  Random random(seed);
  if (size == 0) return give("m{}", data, max_size);
  const std::string text = text_of(data + 1, size - 1);
  const std::string after = data[0] == 't' ? with_text_mutated(text, "[]=\n,", max_size - 1, random)
                                           : with_json_mutated(text, max_size - 1, random);
  return give(text_of(data, 1) + after, data, max_size);
}
