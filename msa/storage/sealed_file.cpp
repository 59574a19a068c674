#include "msa/storage/sealed_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "msa/base/error.h"

namespace msa::storage {
namespace {

constexpr std::string_view kMagic("msa-sealed-1\n\0\0\0", 16);
constexpr size_t kFileNonceBytes = 16;
constexpr uint64_t kHeaderBytes = 32;
constexpr uint64_t kStoredUnitBytes = kSealedUnitBytes + kTagBytes;

using FileNonce = std::array<std::byte, kFileNonceBytes>;

CipherKey key_of_file(const CipherKey& key, const FileNonce& nonce) {
  return derive_key(key, nonce, "file");
}

/// A key seals one file, whose units are numbered: no nonce is used twice.
std::array<std::byte, kNonceBytes> nonce_of_unit(uint64_t unit) {
  std::array<std::byte, kNonceBytes> nonce{};
  for (size_t i = 0; i < sizeof unit; ++i) nonce[i] = static_cast<std::byte>(unit >> (8 * i));
  return nonce;
}

/// The last unit is known as such: a file that lost its end is not what was sealed.
std::array<std::byte, 1> context_of_unit(bool is_last) {
  return {is_last ? std::byte{1} : std::byte{0}};
}

class SealingFile final : public File {
 public:
  SealingFile(std::unique_ptr<File> file, const CipherKey& key) : file_(std::move(file)) {
    draw_random(nonce_);
    key_ = std::make_unique<SealingKey>(key_of_file(key, nonce_));
    unit_.reserve(kSealedUnitBytes);
  }

  void read_at(uint64_t /*offset*/, std::span<std::byte> /*out*/) const override {
    throw Error(ErrorCode::kInternal, path().string(), ": is being written");
  }

  void append(std::span<const std::byte> bytes) override {
    if (is_finished_) {
      throw Error(ErrorCode::kInternal, path().string(), ": nothing can follow its end");
    }
    num_bytes_ += bytes.size();
    while (!bytes.empty()) {
      if (unit_.size() == kSealedUnitBytes) write_unit(/*is_last=*/false);
      const auto part = bytes.first(std::min(bytes.size(), kSealedUnitBytes - unit_.size()));
      unit_.insert(unit_.end(), part.begin(), part.end());
      bytes = bytes.subspan(part.size());
    }
  }

  void sync() override {
    if (is_finished_ && !unit_.empty()) {
      throw Error(ErrorCode::kInternal, path().string(), ": a part of it could not be written");
    }
    if (!unit_.empty()) write_unit(/*is_last=*/true);
    is_finished_ = true;
    file_->sync();
  }

  uint64_t size() const override { return num_bytes_; }
  const std::filesystem::path& path() const override { return file_->path(); }

 private:
  void write_unit(bool is_last) {
    is_finished_ = true;  // after a failure too: nothing is sealed twice under one nonce
    if (num_units_ == 0) {
      file_->append(std::as_bytes(std::span(kMagic)));
      file_->append(nonce_);
    }
    std::array<std::byte, kTagBytes> tag{};
    key_->seal(nonce_of_unit(num_units_), context_of_unit(is_last), unit_, unit_, tag);
    ++num_units_;
    unit_.insert(unit_.end(), tag.begin(), tag.end());
    file_->append(unit_);
    unit_.clear();
    is_finished_ = is_last;
  }

  std::unique_ptr<File> file_;
  FileNonce nonce_{};
  std::unique_ptr<SealingKey> key_;
  std::vector<std::byte> unit_;  // not written yet
  uint64_t num_units_ = 0;
  uint64_t num_bytes_ = 0;
  bool is_finished_ = false;
};

class UnsealedFile final : public File {
 public:
  UnsealedFile(std::unique_ptr<File> file, const CipherKey& key) : file_(std::move(file)) {
    const uint64_t stored = file_->size();
    if (stored == 0) return;
    std::array<std::byte, kHeaderBytes> header{};
    if (stored > kHeaderBytes) file_->read_at(0, header);
    const uint64_t last = (stored - kHeaderBytes) % kStoredUnitBytes;
    const bool is_whole = stored > kHeaderBytes && (last == 0 || last > kTagBytes);
    if (!is_whole || std::memcmp(header.data(), kMagic.data(), kMagic.size()) != 0) {
      throw Error(ErrorCode::kCorruption, path().string(),
                  " at byte 0: is no encrypted file, or lost its end");
    }
    FileNonce nonce{};
    std::ranges::copy(std::span(header).subspan<kMagic.size()>(), nonce.begin());
    key_ = std::make_unique<SealingKey>(key_of_file(key, nonce));
    num_units_ = (stored - kHeaderBytes + kStoredUnitBytes - 1) / kStoredUnitBytes;
    num_bytes_ = stored - kHeaderBytes - num_units_ * kTagBytes;
  }

  void read_at(uint64_t offset, std::span<std::byte> out) const override {
    if (out.size() > num_bytes_ || offset > num_bytes_ - out.size()) {
      throw Error(ErrorCode::kCorruption, path().string(), " at byte ", offset,
                  ": the file ends at ", num_bytes_);
    }
    std::vector<std::byte> unit;
    while (!out.empty()) {
      const uint64_t number = offset / kSealedUnitBytes;
      const uint64_t inside = offset % kSealedUnitBytes;
      const auto plain = read_unit(number, unit);
      const auto part = plain.subspan(inside, std::min(out.size(), plain.size() - inside));
      std::ranges::copy(part, out.begin());
      out = out.subspan(part.size());
      offset += part.size();
    }
  }

  void append(std::span<const std::byte> /*bytes*/) override {
    throw Error(ErrorCode::kInternal, path().string(), ": is open to be read");
  }
  void sync() override { file_->sync(); }
  uint64_t size() const override { return num_bytes_; }
  const std::filesystem::path& path() const override { return file_->path(); }

 private:
  std::span<const std::byte> read_unit(uint64_t number, std::vector<std::byte>& room) const {
    const uint64_t first = number * kSealedUnitBytes;
    const uint64_t count = std::min(kSealedUnitBytes, num_bytes_ - first);
    room.resize(count + kTagBytes);
    file_->read_at(kHeaderBytes + number * kStoredUnitBytes, room);
    const auto bytes = std::span(room).first(count);
    const bool is_last = number + 1 == num_units_;
    if (!key_->open(nonce_of_unit(number), context_of_unit(is_last), bytes, bytes,
                    std::span(std::as_const(room)).last<kTagBytes>())) {
      throw Error(ErrorCode::kCorruption, path().string(), " at byte ", first,
                  ": is not what was encrypted");
    }
    return bytes;
  }

  std::unique_ptr<File> file_;
  std::unique_ptr<SealingKey> key_;
  uint64_t num_units_ = 0;
  uint64_t num_bytes_ = 0;
};

}  // namespace

std::unique_ptr<File> seal_file(std::unique_ptr<File> file, const CipherKey& key) {
  return std::make_unique<SealingFile>(std::move(file), key);
}

std::unique_ptr<File> unseal_file(std::unique_ptr<File> file, const CipherKey& key) {
  return std::make_unique<UnsealedFile>(std::move(file), key);
}

}  // namespace msa::storage
