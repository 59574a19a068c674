#pragma once
// What tests of corpora share: layouts over tokenizers on disk, and folders of written files.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <system_error>

#include "msa/base/file_system.h"
#include "msa/text/prompt_layout.h"
#include "msa/text/tokenizer.h"

namespace msa::samples {

/// A new folder, removed with all that is in it.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() / (name + "." + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// A layout of 16 documents a layer with the tokenizer that it borrows.
class LoadedLayout {
 public:
  explicit LoadedLayout(const std::filesystem::path& folder)
      : tokenizer_(text::Tokenizer::load(real_file_system(), folder)), layout_(*tokenizer_, 16) {}

  /// Of a folder's vocabulary with the layout's special tokens, of ids from `first_special` on.
  static std::unique_ptr<LoadedLayout> with_special(const std::filesystem::path& folder,
                                                    int64_t first_special) {
    const ScratchFolder scratch("special_tokens");
    for (const char* name : {"vocab.json", "merges.txt", "tokenizer_config.json"}) {
      if (!std::filesystem::exists(folder / name)) continue;
      std::filesystem::copy_file(folder / name, scratch.path() / name);
    }
    std::string added;
    for (const char* content :
         {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_end|>"}) {
      added += (added.empty() ? "{\"" : ",\"") + std::string(content) +
               "\":" + std::to_string(first_special++);
    }
    scratch.write("added_tokens.json", added + "}");
    return std::make_unique<LoadedLayout>(scratch.path());
  }

  const text::PromptLayout& layout() const { return layout_; }

 private:
  std::unique_ptr<text::Tokenizer> tokenizer_;
  text::PromptLayout layout_;
};

}  // namespace msa::samples
