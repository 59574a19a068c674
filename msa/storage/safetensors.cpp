#include "msa/storage/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "msa/base/error.h"
#include "msa/base/json.h"

namespace msa::storage {
namespace {

struct TypeEntry {
  DataType type;
  std::string_view name;
  int64_t bytes;
};

constexpr std::array kTypes{
    TypeEntry{DataType::kBool, "BOOL", 1},      TypeEntry{DataType::kU8, "U8", 1},
    TypeEntry{DataType::kI8, "I8", 1},          TypeEntry{DataType::kF8E4M3, "F8_E4M3", 1},
    TypeEntry{DataType::kF8E5M2, "F8_E5M2", 1}, TypeEntry{DataType::kI16, "I16", 2},
    TypeEntry{DataType::kU16, "U16", 2},        TypeEntry{DataType::kF16, "F16", 2},
    TypeEntry{DataType::kBF16, "BF16", 2},      TypeEntry{DataType::kI32, "I32", 4},
    TypeEntry{DataType::kU32, "U32", 4},        TypeEntry{DataType::kF32, "F32", 4},
    TypeEntry{DataType::kI64, "I64", 8},        TypeEntry{DataType::kU64, "U64", 8},
    TypeEntry{DataType::kF64, "F64", 8},
};

constexpr size_t kMaxDimensions = 8;
constexpr uint64_t kLengthBytes = 8;

const TypeEntry& entry_of(DataType type) {
  return *std::find_if(kTypes.begin(), kTypes.end(),
                       [&](const TypeEntry& entry) { return entry.type == type; });
}

template <typename... Parts>
[[noreturn]] void refuse(const std::filesystem::path& path, const Parts&... parts) {
  throw Error(ErrorCode::kInvalidFormat, path.string(), ": ", parts...);
}

uint64_t whole_number(const Json& value, const std::filesystem::path& path, const std::string& name,
                      const char* what) {
  if (!value.is_number_unsigned()) {
    refuse(path, "tensor \"", name, "\": ", what, " must be a whole number, got ",
           to_line(value).substr(0, 40));
  }
  return value.get<uint64_t>();
}

TensorInfo parse_tensor(const Json& json, const std::string& name,
                        const std::filesystem::path& path, uint64_t data_bytes) {
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets")) {
    refuse(path, "tensor \"", name, "\" must have exactly dtype, shape and data_offsets");
  }
  const Json& shape = json.at("shape");
  const Json& offsets = json.at("data_offsets");
  if (!json.at("dtype").is_string() || !shape.is_array() || !offsets.is_array() ||
      offsets.size() != 2 || shape.size() > kMaxDimensions) {
    refuse(path, "tensor \"", name, "\": dtype must be a string, shape at most ", kMaxDimensions,
           " numbers, data_offsets two");
  }
  const auto type_name = json.at("dtype").get<std::string>();
  const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                 [&](const TypeEntry& entry) { return entry.name == type_name; });
  if (type == kTypes.end()) {
    refuse(path, "tensor \"", name, "\" has the unknown dtype \"", type_name.substr(0, 40), "\"");
  }
  TensorInfo info;
  info.type = type->type;
  // Sides of zero are left out of the product that must not overflow: what multiplies the other
  // sides later (strides) may not overflow either.
  auto bytes = static_cast<uint64_t>(type->bytes);
  bool is_empty = false;
  for (const Json& side : shape) {
    const uint64_t length = whole_number(side, path, name, "a side of the shape");
    is_empty |= length == 0;
    if (__builtin_mul_overflow(bytes, std::max<uint64_t>(length, 1), &bytes) ||
        bytes > std::numeric_limits<int64_t>::max()) {
      refuse(path, "tensor \"", name, "\": its shape is larger than any file");
    }
    info.shape.push_back(static_cast<int64_t>(length));
  }
  if (is_empty) bytes = 0;
  const uint64_t first = whole_number(offsets[0], path, name, "an offset");
  const uint64_t end = whole_number(offsets[1], path, name, "an offset");
  if (first > end || end > data_bytes) {
    refuse(path, "tensor \"", name, "\": offsets [", first, ", ", end, "] are outside the ",
           data_bytes, " bytes of data");
  }
  if (end - first != bytes) {
    refuse(path, "tensor \"", name, "\": shape and dtype need ", bytes, " bytes, the offsets give ",
           end - first);
  }
  info.offset = first;
  info.num_bytes = bytes;
  return info;
}

std::map<std::string, std::string> parse_metadata(const Json& json,
                                                  const std::filesystem::path& path) {
  std::map<std::string, std::string> metadata;
  if (!json.is_object()) refuse(path, "__metadata__ must be an object of strings");
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) refuse(path, "__metadata__ \"", key, "\" must be a string");
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

void check_side_by_side(const std::map<std::string, TensorInfo>& tensors,
                        const std::filesystem::path& path, uint64_t data_bytes) {
  std::vector<std::pair<std::pair<uint64_t, uint64_t>, const std::string*>> spans;
  for (const auto& [name, info] : tensors) {
    spans.push_back({{info.offset, info.offset + info.num_bytes}, &name});
  }
  std::sort(spans.begin(), spans.end());
  uint64_t end = 0;
  for (const auto& [span, name] : spans) {
    if (span.first != end) {
      refuse(path, "tensor \"", *name, "\" begins at ", span.first, " where ", end,
             " was expected: tensors must stand side by side");
    }
    end = span.second;
  }
  if (end != data_bytes) {
    refuse(path, "the tensors end at byte ", end, " of ", data_bytes, " bytes of data");
  }
}

uint64_t bytes_of(DataType type, std::span<const int64_t> shape) {
  auto bytes = static_cast<uint64_t>(data_type_bytes(type));
  for (const int64_t side : shape) bytes *= static_cast<uint64_t>(side);
  return bytes;
}

std::string quoted(const std::string& text) { return OrderedJson(text).dump(); }

/// Gathers the header of a file to write. As text: a JSON object allocates when it is destroyed,
/// which ends the process where memory has ended.
class HeaderText {
 public:
  explicit HeaderText(const std::map<std::string, std::string>& metadata) {
    if (metadata.empty()) return;
    std::string pairs;
    for (const auto& [key, value] : metadata) {
      pairs += (pairs.empty() ? "" : ",") + quoted(key) + ":" + quoted(value);
    }
    add_entry("__metadata__", "{" + pairs + "}");
  }

  /// Places a tensor behind those before it and returns its bytes.
  uint64_t add(const std::string& name, DataType type, const std::vector<int64_t>& shape) {
    const uint64_t bytes = bytes_of(type, shape);
    MSA_CHECK(names_.insert(name).second && name != "__metadata__", "tensor name \"", name,
              "\" is used twice or reserved");
    std::string sides;
    for (const int64_t side : shape) sides += (sides.empty() ? "" : ",") + std::to_string(side);
    add_entry(name, R"({"dtype":")" + std::string(data_type_name(type)) + R"(","shape":[)" + sides +
                        R"(],"data_offsets":[)" + std::to_string(offset_) + "," +
                        std::to_string(offset_ + bytes) + "]}");
    offset_ += bytes;
    return bytes;
  }

  std::string finish() const {
    std::string text = "{" + entries_ + "}";
    text.append((8 - text.size() % 8) % 8, ' ');
    std::string header(kLengthBytes, '\0');
    for (size_t i = 0; i < kLengthBytes; ++i) {
      header[i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
    }
    return header + text;
  }

 private:
  void add_entry(const std::string& key, const std::string& value) {
    entries_ += (entries_.empty() ? "" : ",") + quoted(key) + ":" + value;
  }

  std::string entries_;
  std::set<std::string> names_;
  uint64_t offset_ = 0;
};

}  // namespace

std::string_view data_type_name(DataType type) { return entry_of(type).name; }
int64_t data_type_bytes(DataType type) { return entry_of(type).bytes; }

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (const int64_t side : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(side);
  return text + "]";
}

SafetensorsHeader SafetensorsHeader::read(const File& file, const SafetensorsLimits& limits) {
  SafetensorsHeader result;
  const std::filesystem::path& path = result.path_ = file.path();
  const uint64_t size = file.size();
  if (size < kLengthBytes) refuse(path, "holds ", size, " bytes, a header needs at least 8");
  std::array<unsigned char, kLengthBytes> length_bytes{};
  file.read_at(0, std::as_writable_bytes(std::span(length_bytes)));
  uint64_t header_bytes = 0;
  for (size_t i = kLengthBytes; i-- > 0;) header_bytes = header_bytes << 8 | length_bytes[i];
  if (header_bytes > size - kLengthBytes) {
    refuse(path, "the header claims ", header_bytes, " bytes, ", size - kLengthBytes,
           " are in the file");
  }
  if (header_bytes > limits.max_header_bytes) {
    throw Error(ErrorCode::kLimit, path.string(), ": the header holds ", header_bytes,
                " bytes, at most ", limits.max_header_bytes, " are accepted");
  }
  std::string header(header_bytes, '\0');
  file.read_at(kLengthBytes, std::as_writable_bytes(std::span(header)));
  if (header.empty() || header.front() != '{') refuse(path, "the header must begin with {");
  const ParsedJson json(header, path.string() + " header",
                        {.max_bytes = limits.max_header_bytes, .max_depth = 4});
  if (json->size() > limits.max_tensors) {
    throw Error(ErrorCode::kLimit, path.string(), ": ", json->size(), " tensors, at most ",
                limits.max_tensors, " are accepted");
  }
  const uint64_t data_first = kLengthBytes + header_bytes;
  for (const auto& [name, value] : json->items()) {
    if (name == "__metadata__") {
      result.metadata_ = parse_metadata(value, path);
    } else {
      result.tensors_[name] = parse_tensor(value, name, path, size - data_first);
    }
  }
  check_side_by_side(result.tensors_, path, size - data_first);
  for (auto& [name, info] : result.tensors_) info.offset += data_first;
  return result;
}

const TensorInfo& SafetensorsHeader::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) refuse(path_, "there is no tensor \"", name, "\"");
  return found->second;
}

std::unique_ptr<SafetensorsFile> SafetensorsFile::open(FileSystem& files,
                                                       const std::filesystem::path& path,
                                                       const SafetensorsLimits& limits) {
  auto result = std::unique_ptr<SafetensorsFile>(new SafetensorsFile());
  result->file_ = files.open_to_read(path);
  result->header_ = SafetensorsHeader::read(*result->file_, limits);
  return result;
}

void SafetensorsFile::read(const std::string& name, std::span<std::byte> out) const {
  const TensorInfo& info = tensor(name);
  MSA_CHECK(out.size() == info.num_bytes, path().string(), ": tensor \"", name, "\" has ",
            info.num_bytes, " bytes, room was given for ", out.size());
  file_->read_at(info.offset, out);
}

void SafetensorsFile::read_part(const std::string& name, uint64_t offset,
                                std::span<std::byte> out) const {
  const TensorInfo& info = tensor(name);
  MSA_CHECK(offset <= info.num_bytes && out.size() <= info.num_bytes - offset, path().string(),
            ": tensor \"", name, "\" has ", info.num_bytes, " bytes, ", out.size(), " from byte ",
            offset, " were asked for");
  file_->read_at(info.offset + offset, out);
}

std::string safetensors_header(std::span<const TensorToWrite> tensors,
                               const std::map<std::string, std::string>& metadata) {
  HeaderText header(metadata);
  for (const TensorToWrite& tensor : tensors) {
    MSA_CHECK(header.add(tensor.name, tensor.type, tensor.shape) == tensor.bytes.size(),
              "tensor \"", tensor.name, "\" needs ", bytes_of(tensor.type, tensor.shape),
              " bytes, got ", tensor.bytes.size());
  }
  return header.finish();
}

std::string safetensors_header(std::span<const TensorStream> tensors,
                               const std::map<std::string, std::string>& metadata) {
  HeaderText header(metadata);
  for (const TensorStream& tensor : tensors) header.add(tensor.name, tensor.type, tensor.shape);
  return header.finish();
}

uint64_t TensorStream::num_bytes() const { return bytes_of(type, shape); }

void TensorStream::write_all(const Append& append) const {
  uint64_t written = 0;
  write([&](std::span<const std::byte> bytes) {
    written += bytes.size();
    append(bytes);
  });
  MSA_CHECK(written == num_bytes(), "tensor \"", name, "\" needs ", num_bytes(), " bytes, got ",
            written);
}

void write_safetensors(FileSystem& files, const std::filesystem::path& path,
                       std::span<const TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string header = safetensors_header(tensors, metadata);
  write_file_atomically(files, path, [&](File& file) {
    file.append(std::as_bytes(std::span(header)));
    for (const TensorToWrite& tensor : tensors) file.append(tensor.bytes);
  });
}

void write_safetensors(FileSystem& files, const std::filesystem::path& path,
                       std::span<const TensorStream> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string header = safetensors_header(tensors, metadata);
  write_file_atomically(files, path, [&](File& file) {
    file.append(std::as_bytes(std::span(header)));
    for (const TensorStream& tensor : tensors) {
      tensor.write_all([&](std::span<const std::byte> bytes) { file.append(bytes); });
    }
  });
}

}  // namespace msa::storage
