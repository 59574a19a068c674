#pragma once
// Documents of a file, cut into passages and tokenised once: later opens map what was written.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "msa/base/file_system.h"
#include "msa/samples/frame_tokens.h"
#include "msa/samples/token_store.h"

namespace msa::samples {

struct TokenCacheOptions {
  std::filesystem::path folder;       // of token files; created if not there, its parent is
  int64_t max_document_tokens = 480;  // of a passage's text alone, at least 8
};

/// The passages of a jsonl file of documents (also .zst), in its order; those of one document stand
/// together and have its id as name, FILE:LINE if it has none. The token file is named by the
/// digest of the file's name and bytes, the tokenizer's fingerprint, max_document_tokens and
/// kTokenStoreVersion. One that is damaged is
/// told of by on_progress and made anew. Processes that open the same file at once wait for the
/// one that makes it. Token files of older documents are left: they may be deleted.
/// Tokenises on all threads. Holds a file's passages in memory while it makes one.
/// Throws Error(kInvalidFormat) naming file and line for a line that is no document, or for an id
/// that an earlier line has; naming the file if it has no document at all.
std::unique_ptr<TokenStore> open_token_cache(
    FileSystem& files, const FrameEncoder& encoder, const std::filesystem::path& documents,
    const TokenCacheOptions& options,
    const std::function<void(const std::string& what, double share)>& on_progress = {});

}  // namespace msa::samples
