// msa_parity DIR: compares this program's numbers with a folder of expected ones.

#include <cstdio>
#include <exception>
#include <functional>
#include <string>

#include "tests/parity/golden_set.h"

namespace msa::parity {
namespace {

int run(const std::filesystem::path& folder) {
  const GoldenSet golden(folder);
  Report report;
  const auto part = [&](const std::string& name, std::initializer_list<const char*> needed,
                        const std::function<void()>& check) {
    for (const char* file : needed) {
      if (!golden.has(file)) {
        std::printf("%s: absent (no %s)\n", name.c_str(), file);
        return;
      }
    }
    try {
      check();
    } catch (const std::exception& error) {
      report.fail(name, "whole part", error.what());
    }
  };
  const char* model = "tiny-msa/config.json";
  const char* documents = "encode/documents.jsonl";
  part("encode", {model, documents}, [&] { check_encoding(report, golden); });
  part("route", {model, documents, "route/questions.jsonl", "route/routes.jsonl"},
       [&] { check_routing(report, golden); });
  part("variants", {model, documents, "route/questions.jsonl", "route/variants.jsonl"},
       [&] { check_variants(report, golden); });
  part("generate", {model, documents, "route/questions.jsonl", "generate/greedy.jsonl"},
       [&] { check_greedy(report, golden); });
  for (int trace = 0;; ++trace) {
    const std::string file = "generate/interleave_" + std::to_string(trace) + ".json";
    if (!golden.has(file)) break;
    part("interleave " + std::to_string(trace), {model, documents},
         [&] { check_interleave(report, golden, trace); });
  }
  part("qwen3", {"qwen3/config.json", "qwen3/prompts.jsonl"}, [&] { check_qwen3(report, golden); });
  return report.print() ? 0 : 1;
}

}  // namespace
}  // namespace msa::parity

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: msa_parity DIR\n");
    return 2;
  }
  try {
    return msa::parity::run(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "msa_parity: %s\n", error.what());
    return 1;
  }
}
