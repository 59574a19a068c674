#pragma once
// One file of passages with the tokens of their frames: written once, mapped, checked when opened.
//
// Layout, little-endian: a header of 72 bytes (the key of what it was made of, its sizes, the
// XXH3-128 digest of all else), one fixed record a passage, tokens of 2 or 4 bytes, then names,
// titles and texts.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "msa/base/file_system.h"
#include "msa/base/mapped_file.h"
#include "msa/samples/frame_tokens.h"
#include "msa/storage/digest.h"

namespace msa::samples {

/// Raised whenever the same bytes of input give another file.
constexpr uint32_t kTokenStoreVersion = 1;

/// Fixed part of a passage: where its tokens and characters are, and how many of each. Tokens are
/// those of its heads, body and tails, in that order; with hidden titles only where they differ.
struct PassageRecord {
  uint64_t first_token = 0;
  uint64_t first_byte = 0;  // of name, title, text
  uint64_t text_digest = 0;
  uint32_t name_bytes = 0;
  uint32_t title_bytes = 0;
  uint32_t text_bytes = 0;
  uint32_t heads[2] = {};  // by Title; the second 0: as the first
  uint32_t body = 0;
  uint32_t tails[2][2] = {};  // by Title and Frame; 0 for hidden titles: as for shown ones

  bool operator==(const PassageRecord&) const = default;
};
static_assert(sizeof(PassageRecord) == 64);

/// Collects passages in memory and writes them.
class TokenStoreWriter {
 public:
  /// `vocab_size` says how wide a token is.
  explicit TokenStoreWriter(int64_t vocab_size) : token_bytes_(vocab_size <= 65536 ? 2 : 4) {}

  /// Throws Error(kLimit) if one of them has 4 GiB or more.
  void add(std::string_view name, std::string_view title, std::string_view text,
           const FrameTokens& frames);

  int64_t size() const { return static_cast<int64_t>(records_.size()); }

  /// Publishes the file all or nothing. Throws as write_file_atomically.
  void write(FileSystem& files, const std::filesystem::path& path,
             const storage::Digest& key) const;

 private:
  void add_tokens(std::span<const int32_t> tokens);

  uint32_t token_bytes_;
  std::vector<PassageRecord> records_;
  std::vector<std::byte> tokens_;
  std::string characters_;
};

/// Immutable; may be used from several threads. Views live as long as the store.
class TokenStore {
 public:
  /// Throws Error(kCorruption) naming the file if it is not, byte by byte, what was written for
  /// `key`, and as MappedFile::open.
  static std::unique_ptr<TokenStore> open(FileSystem& files, const std::filesystem::path& path,
                                          const storage::Digest& key);

  int64_t size() const { return static_cast<int64_t>(records_.size()); }
  uint64_t num_bytes() const { return file_->bytes().size(); }  // of the file

  std::string_view name(int64_t passage) const;
  std::string_view title(int64_t passage) const;
  std::string_view text(int64_t passage) const;

  /// Equal for equal texts; others may share it.
  uint64_t text_digest(int64_t passage) const { return record(passage).text_digest; }

  /// Adds head, body and tail.
  void append(int64_t passage, Title title, Frame frame, std::vector<int32_t>& tokens) const;

  /// Tokens that append() adds.
  int64_t num_tokens(int64_t passage, Title title, Frame frame) const;

 private:
  TokenStore() = default;

  const PassageRecord& record(int64_t passage) const {
    return records_[static_cast<size_t>(passage)];
  }
  bool has_whole_records() const;
  void append_tokens(uint64_t first, uint32_t count, std::vector<int32_t>& tokens) const;

  std::unique_ptr<MappedFile> file_;
  std::span<const PassageRecord> records_;
  std::span<const std::byte> tokens_;
  uint32_t token_bytes_ = 0;
  std::string_view characters_;
};

}  // namespace msa::samples
