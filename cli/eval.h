#pragma once
// What the parts of msa eval share: progress, a line a question to a file, figures in two forms.

#include <CLI/CLI.hpp>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "msa/base/json.h"
#include "msa/eval/qa.h"

namespace msa::cli {

/// A line a second on stderr, which overwrites itself on a terminal; the last one stays.
class ProgressText {
 public:
  ProgressText() = default;
  ~ProgressText() { close(); }
  ProgressText(const ProgressText&) = delete;
  ProgressText& operator=(const ProgressText&) = delete;

  void show(const std::string& text, bool is_last);
  void close();

 private:
  std::chrono::steady_clock::time_point last_{};
  bool is_open_ = false;
};

/// One line a question to a file; every line is there when write() returns.
/// Throws Error(kNoSpace) or Error(kIo) naming the file.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  void write(const std::string& line);

 private:
  void expect_good() const;

  std::string path_;
  std::ofstream out_;
};

OrderedJson recall_json(const eval::Recall& recall);
OrderedJson layers_json(const std::vector<eval::LayerRecall>& layers);
OrderedJson reading_json(const eval::Reading& reading);

/// A row of a table for people: recall among the first and the first 16.
void print_recall(const std::string& name, const eval::Recall& recall);
/// The head of that table and the rows of routing.
void print_routing(const eval::Recall& fused, const std::vector<eval::LayerRecall>& layers,
                   double any_layer_at_16);

// Add their subcommands to msa eval.
void add_eval_bank(CLI::App& eval);
void add_eval_text(CLI::App& eval);

}  // namespace msa::cli
