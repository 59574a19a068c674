#pragma once
// What the child does to a bank, as lines that it prints, and what the bank should hold after them.

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "msa/base/error.h"
#include "msa/memory/bank_oracle.h"
#include "msa/memory/bank_writer.h"
#include "msa/storage/encrypted_files.h"

namespace msa::memory {

inline BankFacts crash_facts() {
  return {.model_fingerprint = "m",
          .tokenizer_fingerprint = "t",
          .model_name = "crash",
          .shape = {.num_layers = 2, .num_kv_heads = 2, .head_dim = 8, .chunk_tokens = 4},
          .max_passage_tokens = 1000,
          .key_type = kernels::NumberType::kBFloat16,
          .content_type = kernels::ContentType::kFloat32};
}

/// The key of those banks that are encrypted.
inline std::vector<std::byte> crash_secret() { return std::vector<std::byte>(32, std::byte{7}); }

/// What a bank is read and written through: banks called *.encrypted are.
inline std::shared_ptr<FileSystem> crash_files(const std::filesystem::path& bank) {
  if (bank.extension() != ".encrypted") return {&real_file_system(), [](FileSystem*) {}};
  return storage::EncryptedFiles::create(real_file_system(), bank, crash_secret());
}

/// Sizes at which segments are merged all the time.
inline CompactionPolicy crash_policy() {
  return {.max_segment_bytes = int64_t{64} << 10, .spare_bytes = 0};
}

/// One operation on a bank. As a line: its name, the id of its first passage, names of documents.
struct Change {
  std::string operation;  // "put", "forget", "compact" or "purge"
  int64_t first_id = 1;
  std::vector<std::string> names;

  std::string to_line() const {
    std::string line = operation + " " + std::to_string(first_id);
    for (const std::string& name : names) line += " " + name;
    return line;
  }
  static Change from_line(const std::string& line) {
    std::istringstream words(line);
    Change change;
    words >> change.operation >> change.first_id;
    for (std::string name; words >> name;) change.names.push_back(name);
    return change;
  }
};

/// What is drawn next; documents are called by `prefix` and one of thirty numbers.
inline Change random_change(std::mt19937& random, const std::string& prefix, int64_t first_id) {
  const uint32_t kind = random() % 11;
  Change change{.operation = kind < 6   ? "put"
                             : kind < 8 ? "forget"
                             : kind < 9 ? "compact"
                                        : "purge",
                .first_id = first_id,
                .names = {}};
  if (kind >= 8) return change;
  for (uint32_t left = 1 + random() % 5; left > 0; --left) {
    const std::string name = prefix + std::to_string(random() % 30);
    if (std::ranges::find(change.names, name) == change.names.end()) change.names.push_back(name);
  }
  return change;
}

inline void make(const Change& change, BankWriter& writer) {
  if (change.operation == "forget") {
    writer.forget(change.names);
  } else if (change.operation == "put") {
    const auto documents =
        BankOracle::make(crash_facts().shape, change.names, writer.next_passage_id());
    const RandomBatch batch = BankOracle::join(documents);
    for (bool is_done = false; !is_done;) {
      try {
        writer.commit(batch.documents, batch.encoded, KnownName::kReplace);
        is_done = true;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::kLimit) throw;
        usleep(500);  // a backup holds too many old files
      }
    }
  } else {
    try {
      writer.compact(change.operation == "purge");
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kLocked) throw;  // a backup reads; documents are as they were
    }
  }
}

inline void make(const Change& change, BankOracle& oracle) {
  if (change.operation == "put") {
    oracle.put(BankOracle::make(crash_facts().shape, change.names, change.first_id));
  } else if (change.operation == "forget") {
    for (const std::string& name : change.names) oracle.erase(name);
  }
}

/// What a child printed: "begin LINE" before a change, "done" when it was acknowledged.
struct ChildLog {
  std::vector<Change> done;
  std::optional<Change> in_flight;

  explicit ChildLog(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line) && !lines.eof();) {
      if (line == "done") {
        done.push_back(*in_flight);
        in_flight.reset();
      } else {
        in_flight = Change::from_line(line.substr(std::string("begin ").size()));
      }
    }
  }
};

}  // namespace msa::memory
