#pragma once
// Reads and writes safetensors files; every length is checked before anything is allocated.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "msa/base/file_system.h"

namespace msa::storage {

/// Element types of the format that are accepted.
enum class DataType {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kI64,
  kU64,
  kF64
};

std::string_view data_type_name(DataType type);  // "F32"
int64_t data_type_bytes(DataType type);

/// "[2, 3]"
std::string shape_text(std::span<const int64_t> shape);

struct TensorInfo {
  DataType type = DataType::kF32;
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // of the first byte in the file
  uint64_t num_bytes = 0;
};

struct SafetensorsLimits {
  uint64_t max_header_bytes = uint64_t{16} << 20;
  uint64_t max_tensors = 1'000'000;
};

/// What a file holds and where. It obeys every rule: closed list of types, at most 8 dimensions,
/// products checked for overflow, tensors side by side from the first byte to the last without
/// hole, overlap or tail. Immutable.
class SafetensorsHeader {
 public:
  /// Throws Error(kInvalidFormat) naming the file and the broken rule, Error(kLimit), or as
  /// File::read_at.
  static SafetensorsHeader read(const File& file, const SafetensorsLimits& limits = {});

  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return path_; }

  /// The named tensor's description. Throws Error(kInvalidFormat) if there is none.
  const TensorInfo& tensor(const std::string& name) const;

 private:
  std::filesystem::path path_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// An open file. Immutable; read may be called from several threads.
class SafetensorsFile {
 public:
  /// Throws as SafetensorsHeader::read and FileSystem::open_to_read.
  static std::unique_ptr<SafetensorsFile> open(FileSystem& files, const std::filesystem::path& path,
                                               const SafetensorsLimits& limits = {});

  const std::map<std::string, TensorInfo>& tensors() const { return header_.tensors(); }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata(); }
  const std::filesystem::path& path() const { return header_.path(); }
  const TensorInfo& tensor(const std::string& name) const { return header_.tensor(name); }

  /// Fills `out`, which must have the tensor's size, with its bytes.
  void read(const std::string& name, std::span<std::byte> out) const;

  /// Fills `out` with the tensor's bytes from `offset` on.
  void read_part(const std::string& name, uint64_t offset, std::span<std::byte> out) const;

 private:
  SafetensorsFile() = default;

  std::unique_ptr<File> file_;
  SafetensorsHeader header_;
};

/// A tensor to write. The bytes must live until the call returns.
struct TensorToWrite {
  std::string name;
  DataType type = DataType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Takes the next bytes of what is written; they need not live longer than the call.
using Append = std::function<void(std::span<const std::byte>)>;

/// A tensor that is made when its turn to be written comes, so that not all must be in memory.
struct TensorStream {
  std::string name;
  DataType type = DataType::kF32;
  std::vector<int64_t> shape;
  std::function<void(const Append&)> write;  // hands on all its bytes, in pieces of any size

  uint64_t num_bytes() const;

  /// Calls `write`. Throws Error(kInvalidArgument) unless it has handed on num_bytes().
  void write_all(const Append& append) const;
};

/// The header for tensors in the order given: length, JSON, padding to a multiple of 8 bytes.
std::string safetensors_header(std::span<const TensorToWrite> tensors,
                               const std::map<std::string, std::string>& metadata);
std::string safetensors_header(std::span<const TensorStream> tensors,
                               const std::map<std::string, std::string>& metadata);

/// Publishes a file as write_file_atomically. Names must differ.
void write_safetensors(FileSystem& files, const std::filesystem::path& path,
                       std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata = {});
void write_safetensors(FileSystem& files, const std::filesystem::path& path,
                       std::span<const TensorStream> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace msa::storage
