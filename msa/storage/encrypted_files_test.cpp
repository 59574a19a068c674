#include "msa/storage/encrypted_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <tuple>
#include <vector>

#include "msa/base/error.h"
#include "msa/base/json.h"

namespace msa::storage {
namespace {

namespace fs = std::filesystem;

class EncryptedFilesTest : public testing::Test {
 protected:
  EncryptedFilesTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~EncryptedFilesTest() override { fs::remove_all(folder_); }

  template <typename Call>
  static void expect_error(const Call& call, ErrorCode code, const std::string& part) {
    try {
      call();
      ADD_FAILURE() << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }

  const fs::path folder_ =
      fs::path(testing::TempDir()) / ("msa_encrypted_files_" + std::to_string(getpid()));
  const std::vector<std::byte> secret_ = std::vector<std::byte>(32, std::byte{7});
};

TEST_F(EncryptedFilesTest, AKeyFileIsItsOwnersAndNeitherShortNorLong) {
  const fs::path key = folder_ / "key";
  const auto write = [&](size_t size, mode_t mode) {
    std::ofstream(key, std::ios::binary) << std::string(size, 'k');
    ASSERT_EQ(chmod(key.c_str(), mode), 0);
  };
  expect_error([&] { read_key_file(key); }, ErrorCode::kNotFound, key.string());
  write(32, 0600);
  EXPECT_EQ(read_key_file(key), std::vector<std::byte>(32, std::byte{'k'}));
  write(32, 0640);
  expect_error([&] { read_key_file(key); }, ErrorCode::kInvalidArgument,
               key.string() + ": others may read this key");
  for (const size_t size : {size_t{0}, size_t{3}, size_t{1} << 20}) {
    write(size, 0600);
    expect_error([&] { read_key_file(key); }, ErrorCode::kInvalidArgument,
                 "this has " + std::to_string(size));
  }
}

TEST_F(EncryptedFilesTest, WhatSaysOfItselfSomethingElseIsDamagedAndAnotherKeyIsToldSo) {
  const fs::path bank = folder_ / "bank";
  const fs::path file = bank / EncryptedFiles::kFile;
  const auto open = [&] { EncryptedFiles::open(real_file_system(), bank, secret_); };
  expect_error(open, ErrorCode::kNotFound, "there is no bank at " + bank.string());
  fs::create_directories(bank);
  expect_error(open, ErrorCode::kInvalidArgument, bank.string() + " is not encrypted");
  EncryptedFiles::create(real_file_system(), bank, secret_);
  EXPECT_NO_THROW(EncryptedFiles::create(real_file_system(), bank, secret_)) << "it is there";
  EXPECT_NO_THROW(open());
  const Json good = parse_json(read_file(real_file_system(), file, 1 << 16), file.string());
  const auto salt = good.at("salt").get<std::string>();
  for (const auto& [key, value, code, part] :
       std::vector<std::tuple<const char*, Json, ErrorCode, std::string>>{
           {"format", "other", ErrorCode::kCorruption, "\"format\" is not"},
           {"cipher", "other", ErrorCode::kCorruption, "\"cipher\" is not"},
           {"salt", 7, ErrorCode::kCorruption, "\"salt\" must be a string"},
           {"salt", salt.substr(2), ErrorCode::kCorruption, "are not"},
           {"salt", "x" + salt.substr(1), ErrorCode::kCorruption, "hexadecimal"},
           {"salt", "G" + salt.substr(1), ErrorCode::kCorruption, "hexadecimal"},
           {"check", "00", ErrorCode::kMismatch, "the key is not that of " + bank.string()}}) {
    Json bad = good;
    bad[key] = value;
    std::ofstream(file) << bad.dump();
    expect_error(open, code, part);
  }
}

}  // namespace
}  // namespace msa::storage
