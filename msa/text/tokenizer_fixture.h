#pragma once
// Tokenizer files of a test's own.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "msa/base/error.h"
#include "msa/base/json.h"
#include "msa/text/tokenizer.h"
#include "msa/text/unicode.h"

namespace msa::text {

/// A vocabulary of the 256 bytes, byte b under the id b, in the spelling of vocab.json.
inline Json byte_vocabulary() {
  Json vocab = Json::object();
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool is_printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
                              (byte >= 0xAE && byte <= 0xFF);
    std::string spelling;
    append_utf8(is_printable ? byte : next++, spelling);
    vocab[spelling] = static_cast<uint64_t>(byte);
  }
  return vocab;
}

/// A folder of tokenizer files, gone at the end.
class TokenizerFolder {
 public:
  TokenizerFolder() { std::filesystem::create_directories(folder_); }
  ~TokenizerFolder() { std::filesystem::remove_all(folder_); }
  TokenizerFolder(const TokenizerFolder&) = delete;
  TokenizerFolder& operator=(const TokenizerFolder&) = delete;

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::unique_ptr<Tokenizer> load() const { return Tokenizer::load(real_file_system(), folder_); }

  void expect_refused(const std::string& file, const std::string& why) const {
    try {
      load();
      ADD_FAILURE() << why;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat) << why;
      const std::string named = file.empty() ? folder_.string() : (folder_ / file).string();
      EXPECT_NE(std::string(error.what()).find(named), std::string::npos)
          << error.what() << " for " << why;
    } catch (const std::exception& error) {
      ADD_FAILURE() << "not an msa::Error: " << error.what() << " for " << why;
    }
  }

 private:
  std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("msa_tokenizer_" + std::to_string(::getpid()));
};

}  // namespace msa::text
