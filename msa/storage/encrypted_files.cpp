#include "msa/storage/encrypted_files.h"

#include <sys/stat.h>

#include <array>
#include <utility>

#include "msa/base/error.h"
#include "msa/base/file_lock.h"
#include "msa/base/json.h"
#include "msa/storage/sealed_file.h"

namespace msa::storage {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "msa-encryption-1";
constexpr const char* kCipher = "aes-256-gcm";
constexpr const char* kLockFile = "LOCK";
constexpr uint64_t kMaxFileBytes = 4096;
constexpr size_t kLeastSecretBytes = 32;
constexpr size_t kSaltBytes = 32;
constexpr size_t kCheckBytes = 16;

std::string to_hex(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte b : bytes) {
    text += kDigits[std::to_integer<size_t>(b) >> 4];
    text += kDigits[std::to_integer<size_t>(b) & 15];
  }
  return text;
}

std::vector<std::byte> from_hex(const std::string& text, size_t num_bytes,
                                const std::string& what) {
  std::vector<std::byte> bytes;
  const auto digit = [&](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    throw Error(ErrorCode::kCorruption, what, ": \"", text, "\" is not in hexadecimal digits");
  };
  if (text.size() != 2 * num_bytes) {
    throw Error(ErrorCode::kCorruption, what, ": \"", text, "\" are not ", num_bytes, " bytes");
  }
  for (size_t i = 0; i < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(digit(text[i]) * 16 + digit(text[i + 1])));
  }
  return bytes;
}

/// What tells a wrong secret from the right one.
std::string check_of(const CipherKey& key) {
  const CipherKey check = derive_key(key, {}, "check");
  return to_hex(std::span(check).first<kCheckBytes>());
}

/// The folder is locked: nobody else makes it, or a bank without a key.
void make(FileSystem& files, const fs::path& folder, std::span<const std::byte> secret) {
  for (const std::string& name : files.list(folder)) {
    MSA_CHECK(
        name == kLockFile || name.starts_with(EncryptedFiles::kFile),  // left by one that died
        folder.string(),
        " is not encrypted: a key is for a new bank, or for one that was made with it");
  }
  std::array<std::byte, kSaltBytes> salt{};
  draw_random(salt);
  const std::string text =
      to_line(OrderedJson{{"format", kFormat},
                          {"cipher", kCipher},
                          {"salt", to_hex(salt)},
                          {"check", check_of(derive_key(secret, salt, "bank"))}}) +
      "\n";
  write_file_atomically(files, folder / EncryptedFiles::kFile, std::as_bytes(std::span(text)));
}

bool is_sealed(const fs::path& path) { return path.extension() == ".msa"; }

}  // namespace

std::vector<std::byte> read_key_file(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && (status.st_mode & 077) != 0) {
    throw Error(ErrorCode::kInvalidArgument, path.string(),
                ": others may read this key: chmod 600 makes it yours");
  }
  const uint64_t size = real_file_system().open_to_read(path)->size();
  MSA_CHECK(size >= kLeastSecretBytes && size <= kMaxFileBytes, path.string(), ": a key has ",
            kLeastSecretBytes, " to ", kMaxFileBytes, " bytes, this has ", size,
            "; head -c 32 /dev/urandom makes one");
  const std::string bytes = read_file(real_file_system(), path, kMaxFileBytes);
  const auto all = std::as_bytes(std::span(bytes));
  return {all.begin(), all.end()};
}

void expect_key_fits(FileSystem& files, const fs::path& folder) {
  const bool is_encrypted = files.exists(folder / EncryptedFiles::kFile);
  const bool has_key = files.database_vfs() != nullptr;
  MSA_CHECK(has_key || !is_encrypted, folder.string(), " is encrypted: it needs its key");
  MSA_CHECK(is_encrypted || !has_key, folder.string(), " is not encrypted: it needs no key");
}

EncryptedFiles::EncryptedFiles(FileSystem& files, const CipherKey& key)
    : files_(files), key_(key), vfs_(derive_key(key, {}, "pages")) {}

std::unique_ptr<EncryptedFiles> EncryptedFiles::create(FileSystem& files, const fs::path& folder,
                                                       std::span<const std::byte> secret) {
  if (!files.exists(folder / kFile)) {
    files.create_directory(folder);
    files.sync_directory(fs::absolute(folder / "").parent_path().parent_path());
    const auto lock = FileLock::acquire(folder / kLockFile);  // that of a bank's writer
    if (!files.exists(folder / kFile)) make(files, folder, secret);
  }
  return open(files, folder, secret);
}

std::unique_ptr<EncryptedFiles> EncryptedFiles::open(FileSystem& files, const fs::path& folder,
                                                     std::span<const std::byte> secret) {
  const std::string path = (folder / kFile).string();
  if (!files.exists(folder)) {
    throw Error(ErrorCode::kNotFound, "there is no bank at ", folder.string());
  }
  MSA_CHECK(files.exists(path), folder.string(), " is not encrypted: it needs no key");
  try {
    const Json json = parse_json(read_file(files, path, kMaxFileBytes), path);
    for (const auto& [key, wanted] : {std::pair{"format", kFormat}, {"cipher", kCipher}}) {
      if (json_string(json, key, path) == wanted) continue;
      throw Error(ErrorCode::kInvalidFormat, path, ": \"", key, "\" is not \"", wanted, "\"");
    }
    const auto salt = from_hex(json_string(json, "salt", path), kSaltBytes, path);
    const CipherKey key = derive_key(secret, salt, "bank");
    if (json_string(json, "check", path) != check_of(key)) {
      throw Error(ErrorCode::kMismatch, "the key is not that of ", folder.string());
    }
    return std::unique_ptr<EncryptedFiles>(new EncryptedFiles(files, key));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidFormat) throw;
    throw Error(ErrorCode::kCorruption, error.what());
  }
}

std::unique_ptr<File> EncryptedFiles::open_to_read(const fs::path& path) {
  auto file = files_.open_to_read(path);
  return is_sealed(path) ? unseal_file(std::move(file), key_) : std::move(file);
}

std::unique_ptr<File> EncryptedFiles::create(const fs::path& path) {
  auto file = files_.create(path);
  return is_sealed(path) ? seal_file(std::move(file), key_) : std::move(file);
}

}  // namespace msa::storage
