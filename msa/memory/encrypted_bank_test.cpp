#include <algorithm>
#include <fstream>
#include <iostream>
#include <random>
#include <set>

#include "msa/base/error.h"
#include "msa/base/test_paths.h"
#include "msa/memory/bank.h"
#include "msa/memory/bank_fixture.h"
#include "msa/memory/bank_oracle.h"
#include "msa/memory/copy_bank.h"
#include "msa/memory/file_damage.h"
#include "msa/storage/encrypted_files.h"

namespace msa::memory {
namespace {

using storage::EncryptedFiles;

class EncryptedBankTest : public BankTest {
 protected:
  static std::vector<std::byte> secret(int n) {
    return std::vector<std::byte>(32, static_cast<std::byte>(n));
  }
  std::unique_ptr<EncryptedFiles> files(int n = 1) const {
    return EncryptedFiles::create(real_file_system(), folder(), secret(n));
  }
  void put(BankWriter& writer, const std::vector<std::string>& names) {
    const auto documents = BankOracle::make(kShape, names, writer.next_passage_id());
    const RandomBatch batch = BankOracle::join(documents);
    writer.commit(batch.documents, batch.encoded, KnownName::kReplace);
    oracle_.put(documents);
  }
  std::vector<std::filesystem::path> all_files() const {
    std::vector<std::filesystem::path> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder())) {
      if (entry.is_regular_file()) all.push_back(entry.path());
    }
    return all;
  }
  static std::string bytes_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::filesystem::path fresh() const { return folder().string() + ".fresh"; }

  BankOracle oracle_;
};

TEST_F(EncryptedBankTest, DoesAllThatOtherBanksDo) {
  constexpr uint32_t kSeed = 21;
  std::mt19937 random(kSeed);
  for (int life = 0; life < 4; ++life) {
    const auto own = files();
    const auto writer = BankWriter::open(*own, folder(), facts(), {.max_segment_bytes = 20'000});
    for (int step = 0; step < 10; ++step) {
      const auto name = [&] { return "n" + std::to_string(random() % 20); };
      if (random() % 4 == 0) {
        const std::vector names{name(), name()};
        for (const std::string& gone : names) oracle_.erase(gone);
        writer->forget(names);
      } else {
        std::set<std::string> names{name(), name(), name()};
        put(*writer, {names.begin(), names.end()});
      }
      if (random() % 6 == 0) writer->compact(/*purges=*/random() % 2 == 0);
      const auto bank = Bank::open(*own, folder());
      oracle_.expect_equal(*bank, fresh());
      if (HasFailure()) return;
    }
    EXPECT_TRUE(verify_bank(*own, folder()).empty());
  }
}

TEST_F(EncryptedBankTest, NoByteOfADocumentIsReadable) {
  BankFacts exact = facts();
  exact.content_type = kernels::ContentType::kFloat32;
  RandomBatch batch = make_random_batch(kShape, {.num_documents = 200, .seed = 3});
  for (Document& document : batch.documents) {
    document.text = "Xylograph canary " + document.text;
    document.passages[0].end = static_cast<int64_t>(document.text.size());
    document.attributes = R"({"secret":"ptarmigan"})";
  }
  const auto record = std::as_bytes(std::span(batch.encoded.key[0])).first(32);
  const std::vector<std::string> markers{
      "canary",
      "ptarmigan",
      "Title 7",
      "doc-7",
      "model_fingerprint",
      std::string(reinterpret_cast<const char*>(record.data()), record.size())};
  const auto shown = [&](const std::filesystem::path& folder) {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      const std::string bytes = bytes_of(entry.path());
      for (const std::string& marker : markers) {
        if (bytes.find(marker) != std::string::npos) found.insert(marker);
      }
    }
    return found;
  };
  std::filesystem::remove_all(fresh());
  BankWriter::open(real_file_system(), fresh(), exact)->commit(batch.documents, batch.encoded);
  EXPECT_EQ(shown(fresh()).size(), markers.size()) << "a bank without a key shows all of them";
  std::filesystem::remove_all(fresh());

  const auto own = files();
  const auto writer = BankWriter::open(*own, folder(), exact);
  writer->commit(batch.documents, batch.encoded);
  EXPECT_TRUE(shown(folder()).empty()) << "with a log";
  writer->forget(std::vector<std::string>{"doc-3"});
  writer->compact(/*purges=*/true);
  EXPECT_TRUE(shown(folder()).empty());
  EXPECT_EQ(Bank::open(*own, folder())->find("doc-7")->text, batch.documents[6].text);
}

TEST_F(EncryptedBankTest, ABackupIsEncryptedAsItIs) {
  const std::filesystem::path backup = folder().string() + ".backup";
  const std::filesystem::path restored = folder().string() + ".restored";
  std::filesystem::remove_all(backup);
  std::filesystem::remove_all(restored);
  const auto own = files();
  const auto writer = BankWriter::open(*own, folder(), facts());
  put(*writer, {"a", "b"});
  EXPECT_EQ(back_up_bank(*own, folder(), backup).copied_segments, 1);
  put(*writer, {"a", "c"});
  EXPECT_EQ(back_up_bank(*own, folder(), backup).copied_segments, 1);
  EXPECT_THROW(back_up_bank(real_file_system(), folder(), backup), Error);
  EXPECT_THROW(Bank::open(real_file_system(), backup), Error);
  {
    const auto its_own = EncryptedFiles::open(real_file_system(), backup, secret(1));
    oracle_.expect_equal(*Bank::open(*its_own, backup), fresh());
    restore_bank(*its_own, backup, restored);
  }
  const auto its_own = EncryptedFiles::open(real_file_system(), restored, secret(1));
  EXPECT_TRUE(verify_bank(*its_own, restored).empty());
  oracle_.expect_equal(*Bank::open(*its_own, restored), fresh());
  std::filesystem::remove_all(backup);
  std::filesystem::remove_all(restored);
}

TEST_F(EncryptedBankTest, NothingButItsOwnKeyOpensIt) {
  {
    const auto own = files();
    put(*BankWriter::open(*own, folder(), facts()), {"a"});
  }
  const auto code_of = [](const auto& call) {
    try {
      call();
      return ErrorCode::kInternal;
    } catch (const Error& error) {
      return error.code();
    }
  };
  EXPECT_EQ(code_of([&] { files(2); }), ErrorCode::kMismatch);
  EXPECT_EQ(code_of([&] { open(); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { open_writer(); }), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(files());
  // And a key opens no bank that has none.
  std::filesystem::remove_all(folder());
  write(2, 1);
  EXPECT_EQ(code_of([&] { files(); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(open()->stats().documents, 2);
}

/// A bank of the key secret(1) and the documents a, b, c, b again.
TEST_F(EncryptedBankTest, AsItWasFirstWrittenIsReadForEver) {
  std::filesystem::copy(source_folder() / "tests/data/bank_encrypted_1", folder(),
                        std::filesystem::copy_options::recursive);
  int64_t first_id = 1;
  for (const char* name : {"a", "b", "c", "b"}) {
    const auto one = BankOracle::make(kShape, std::vector<std::string>{name}, first_id);
    oracle_.put(one);
    first_id = one[0].documents[0].passages.back().id + 1;
  }
  const auto own = EncryptedFiles::open(real_file_system(), folder(), secret(1));
  EXPECT_TRUE(verify_bank(*own, folder()).empty());
  oracle_.expect_equal(*Bank::open(*own, folder()), fresh());
}

TEST_F(EncryptedBankTest, WhateverIsTamperedWithIsRefused) {
  constexpr uint32_t kSeed = 22;
  constexpr int kChanges = 600;
  std::mt19937 random(kSeed);
  {
    const auto own = files();
    const auto writer = BankWriter::open(*own, folder(), facts());
    for (int n = 0; n < 4; ++n) put(*writer, {"a" + std::to_string(n), "b" + std::to_string(n)});
  }
  const auto is_as_it_was = [&](EncryptedFiles& own) {
    const auto bank = Bank::open(own, folder());
    if (!oracle_.is_in(*bank)) return false;
    oracle_.expect_equal(*bank, fresh());
    return true;
  };
  int refused = 0;
  int harmless = 0;
  auto paths = all_files();
  std::erase_if(paths, [](const auto& path) { return path.filename() == "LOCK"; });
  for (int n = 0; n < kChanges; ++n) {
    const auto& path = paths[random() % paths.size()];
    const std::string bytes = bytes_of(path);
    if (bytes.empty()) continue;
    const Keep keep(path);
    const auto offset = static_cast<int64_t>(random() % bytes.size());
    switch (n % 3) {
      case 0:
        flip(path, offset, random() % 8);
        break;
      case 1:
        std::filesystem::resize_file(path, static_cast<uint64_t>(offset));
        break;
      default: {  // another place of the same file, or of another one
        const std::string from = bytes_of(paths[random() % paths.size()]);
        if (from.size() < 4096) continue;
        const size_t at = random() % (from.size() / 4096) * 4096;
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(offset / 4096 * 4096);
        file << from.substr(at, 4096);
      }
    }
    SCOPED_TRACE(path.string() + " byte " + std::to_string(offset) + " way " +
                 std::to_string(n % 3));
    if (bytes_of(path) == bytes) continue;
    try {
      const auto own = EncryptedFiles::open(real_file_system(), folder(), secret(1));
      const bool is_whole = verify_bank(*own, folder()).empty();
      if (!is_whole) {
        ++refused;
        continue;
      }
      ASSERT_TRUE(is_as_it_was(*own));  // SQLite's counters, which nothing depends on
      ++harmless;
    } catch (const Error& error) {
      ASSERT_TRUE(error.code() == ErrorCode::kCorruption || error.code() == ErrorCode::kMismatch ||
                  error.code() == ErrorCode::kInvalidArgument ||
                  error.code() == ErrorCode::kNotFound)
          << error.what();
      ++refused;
    }
    if (HasFailure()) return;
  }
  EXPECT_LE(harmless, kChanges / 100);
  std::cout << refused << " changes refused, " << harmless << " of no consequence; seed " << kSeed
            << "\n";
}

}  // namespace
}  // namespace msa::memory
