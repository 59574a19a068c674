#pragma once
// A bank of random keys and records that are made up when they are read: what a memory of any size
// costs, without a disk that holds it.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/memory/bank_segments.h"
#include "msa/memory/gpu_source.h"
#include "msa/model/config.h"

namespace msa::cli {

/// The files of such a bank. A byte is a function of its file and its place there; the digests are
/// right. Calls may run at once.
class RandomBank final : public FileSystem {
 public:
  /// `document_chunks` in every document but the last of a file. Makes every byte once, on all
  /// threads, for the digests.
  RandomBank(const memory::BankFacts& facts, int64_t num_chunks, int64_t document_chunks);
  ~RandomBank() override;

  const memory::BankFacts& facts() const { return facts_; }

  /// The bank as a GPU or CPU loads it. It must not outlive this.
  std::unique_ptr<const memory::BankSegments> segments();

  /// The same from the files that write_to has written.
  std::unique_ptr<const memory::BankSegments> written_segments(
      const std::filesystem::path& folder) const;

  /// Writes and syncs all files in a folder that is there. Returns their paths. Throws as
  /// FileSystem.
  std::vector<std::filesystem::path> write_to(const std::filesystem::path& folder) const;

  std::unique_ptr<File> open_to_read(const std::filesystem::path& path) override;
  bool exists(const std::filesystem::path& path) override;

  // Nothing is ever written: these throw Error(kIo).
  std::unique_ptr<File> create(const std::filesystem::path& path) override;
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  void remove(const std::filesystem::path& path) override;
  void create_directory(const std::filesystem::path& path) override;
  void remove_directory(const std::filesystem::path& path) override;
  void sync_directory(const std::filesystem::path& path) override;
  std::vector<std::string> list(const std::filesystem::path& path) override;
  uint64_t free_bytes(const std::filesystem::path& path) override;

  struct Contents;  // of one file

 private:
  void add_segment(int64_t num_chunks);

  memory::BankFacts facts_;
  int64_t document_chunks_;
  std::map<std::string, std::unique_ptr<const Contents>> contents_;  // by name
  std::vector<memory::SegmentRow> rows_;
  std::vector<memory::Passage> passages_;
};

/// Which bank, and where it is kept.
struct RandomBankFlags {
  int64_t chunks = 15'625;
  int64_t document_chunks = 5;
  std::string key_type = "int8";
  std::string content_type = "bf16";
  memory::GpuSourceOptions gpu;

  void add_to(CLI::App& command);

  /// For a model of this config. Throws Error(kInvalidArgument) if it has no router layers.
  std::unique_ptr<RandomBank> make(const model::ModelConfig& config) const;
};

}  // namespace msa::cli
