#pragma once
// A bank of the golden documents.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "msa/base/json.h"
#include "msa/engine/ingest.h"
#include "msa/engine/loaded_model.h"
#include "tests/parity/golden_set.h"

namespace msa::parity {

/// A bank of the golden documents, in a folder that goes with it.
class GoldenBank {
 public:
  GoldenBank(const std::filesystem::path& golden, const engine::LoadedModel& model)
      : folder_(std::filesystem::temp_directory_path() /
                ("msa_golden_bank_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    std::ofstream texts(texts_file());
    for (const Json& line : GoldenSet(golden).lines("golden_memory.jsonl")) {
      const auto id = std::to_string(line.at("id").get<int64_t>());
      texts << Json{{"id", id}, {"text", line.at("text")}}.dump() << '\n';
    }
    texts.close();
    engine::IngestOptions options;
    options.bank = bank();
    options.inputs = {texts_file()};
    engine::ingest(real_file_system(), model, options);
  }
  ~GoldenBank() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  GoldenBank(const GoldenBank&) = delete;
  GoldenBank& operator=(const GoldenBank&) = delete;

  std::filesystem::path bank() const { return folder_ / "bank"; }
  std::filesystem::path texts_file() const { return folder_ / "texts.jsonl"; }

  /// For more files, which go with it.
  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

}  // namespace msa::parity
