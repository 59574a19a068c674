#include "msa/train/checkpoint.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "msa/base/error.h"
#include "msa/storage/digest.h"
#include "msa/storage/safetensors.h"
#include "msa/train/guard.h"
#include "msa/train/stored_tensor.h"

namespace msa::train {
namespace {

constexpr int64_t kFormat = 1;
constexpr std::string_view kSimilar = "similar.safetensors";
constexpr std::array<std::pair<std::string_view, std::vector<NamedTensor> Checkpoint::*>, 3> kFiles{
    {{"parameters.safetensors", &Checkpoint::parameters},
     {"optimizer.safetensors", &Checkpoint::optimizer},
     {kSimilar, &Checkpoint::similar}}};
constexpr const char* kRun = "checkpoint.json";
constexpr const char* kUnfinished = ".tmp";
constexpr uint64_t kMaxRunBytes = uint64_t{64} << 20;
constexpr uint64_t kReadBytes = uint64_t{8} << 20;
constexpr int64_t kMaxCount = int64_t{1} << 53;

/// Writes a file, synced, and says what it holds.
Json write_tensors(FileSystem& files, const std::filesystem::path& path,
                   const std::vector<NamedTensor>& tensors) {
  std::vector<NamedTensor> on_host;
  std::vector<storage::TensorToWrite> to_be_written;
  for (const NamedTensor& tensor : tensors) on_host.push_back(to_host(tensor));
  for (const NamedTensor& tensor : on_host) to_be_written.push_back(to_write(tensor));
  const std::string header = storage::safetensors_header(to_be_written, {});
  storage::Digester digester;
  const auto file = files.create(path);
  const auto add = [&](std::span<const std::byte> bytes) {
    digester.add(bytes);
    file->append(bytes);
  };
  add(std::as_bytes(std::span(header)));
  for (const storage::TensorToWrite& tensor : to_be_written) add(tensor.bytes);
  file->sync();
  return {{"bytes", file->size()}, {"digest", storage::to_hex(digester.finish())}};
}

void write_run(FileSystem& files, const std::filesystem::path& path, const RunState& run,
               const Json& contents_of) {
  const Json content{{"step", run.step},
                     {"phase", run.phase},
                     {"phase_step", run.phase_step},
                     {"tokens", run.tokens},
                     {"phase_tokens", run.phase_tokens},
                     {"seconds", run.seconds},
                     {"phase_seconds", run.phase_seconds},
                     {"more", run.more},
                     {"config", run.config},
                     {"files", contents_of}};
  const std::string text = to_line(content);
  const Json whole{{"format", kFormat},
                   {"digest", storage::to_hex(storage::digest_of(std::as_bytes(std::span(text))))},
                   {"content", content}};
  const std::string line = to_line(whole);
  const auto file = files.create(path);
  file->append(std::as_bytes(std::span(line)));
  file->sync();
}

/// The verified content of checkpoint.json.
Json read_run(FileSystem& files, const std::filesystem::path& path) {
  const std::string what = path.string();
  const Json whole = parse_json(read_file(files, path, kMaxRunBytes), what);
  const int64_t format =
      json_integer(whole, "format", 1, std::numeric_limits<int64_t>::max(), what);
  if (format != kFormat) {
    throw Error(ErrorCode::kMismatch, what, ": format ", format, ", this program reads ", kFormat);
  }
  const std::string digest = json_string(whole, "digest", what);
  const std::string text = to_line(whole.contains("content") ? whole.at("content") : Json());
  if (whole.size() != 3 ||
      digest != storage::to_hex(storage::digest_of(std::as_bytes(std::span(text))))) {
    throw Error(ErrorCode::kCorruption, what, ": the bytes are not those that were written");
  }
  const Json& content = whole.at("content");
  for (const char* key : {"more", "files"}) {
    if (!json_has(content, key)) {
      throw Error(ErrorCode::kInvalidFormat, what, ": the key \"", key, "\" is missing");
    }
  }
  return content;
}

/// Groups are not always there; the other files are.
bool has_file(const Json& content, std::string_view name) {
  return name != kSimilar || content.at("files").contains(std::string(name));
}

void verify_file(FileSystem& files, const std::filesystem::path& path, const Json& content) {
  const Json entry = content.at("files").value(path.filename().string(), Json::object());
  const auto file = files.open_to_read(path);
  const uint64_t size = file->size();
  const auto wanted = static_cast<uint64_t>(
      json_integer(entry, "bytes", 0, std::numeric_limits<int64_t>::max(), path.string()));
  if (size != wanted) {
    throw Error(ErrorCode::kCorruption, path.string(), " holds ", size, " bytes, ", wanted,
                " were written");
  }
  storage::Digester digester;
  std::vector<std::byte> bytes;
  for (uint64_t offset = 0; offset < size; offset += bytes.size()) {
    bytes.resize(std::min(kReadBytes, size - offset));
    file->read_at(offset, bytes);
    digester.add(bytes);
  }
  if (storage::to_hex(digester.finish()) != json_string(entry, "digest", path.string())) {
    throw Error(ErrorCode::kCorruption, path.string(),
                ": the bytes are not those that were written");
  }
}

std::vector<NamedTensor> read_tensors(FileSystem& files, const std::filesystem::path& path) {
  const auto file = storage::SafetensorsFile::open(files, path);
  std::vector<std::pair<uint64_t, std::string>> order;  // as they were written
  for (const auto& [name, info] : file->tensors()) order.emplace_back(info.offset, name);
  std::sort(order.begin(), order.end());
  std::vector<NamedTensor> tensors;
  for (const auto& [offset, name] : order) {
    tensors.push_back({.name = name, .tensor = read_tensor(*file, name)});
  }
  return tensors;
}

/// The step of a folder's name, or -1.
int64_t step_of(const std::string& name) {
  int64_t step = -1;
  const char* end = name.data() + name.size();
  const auto result = std::from_chars(name.data(), end, step);
  return result.ec == std::errc() && result.ptr == end ? step : -1;
}

}  // namespace

CheckpointFolder::CheckpointFolder(FileSystem& files, std::filesystem::path folder, int64_t keep)
    : files_(files), folder_(std::move(folder)), keep_(keep) {
  MSA_CHECK(keep > 0, "one checkpoint or more must be kept, got ", keep);
}

std::filesystem::path CheckpointFolder::path_of(int64_t step) const {
  std::string name = std::to_string(step);
  if (name.size() < 9) name.insert(0, 9 - name.size(), '0');
  return folder_ / name;
}

std::vector<int64_t> CheckpointFolder::steps() const {
  std::vector<int64_t> steps;
  if (!files_.exists(folder_)) return steps;
  for (const std::string& name : files_.list(folder_)) {
    const int64_t step = step_of(name);
    if (step >= 0 && path_of(step).filename() == name) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

/// Takes the name away first, so that no half of a checkpoint stands under it.
void CheckpointFolder::discard(const std::filesystem::path& path) const {
  std::filesystem::path unfinished = path;
  if (path.extension() != kUnfinished) {
    unfinished += kUnfinished;
    if (files_.exists(unfinished)) discard(unfinished);
    files_.rename(path, unfinished);
  }
  for (const std::string& name : files_.list(unfinished)) files_.remove(unfinished / name);
  files_.remove_directory(unfinished);
}

bool CheckpointFolder::is_good(int64_t step) const {
  try {
    const Json content = read_run(files_, path_of(step) / kRun);
    for (const auto& [name, tensors] : kFiles) {
      if (has_file(content, name)) verify_file(files_, path_of(step) / name, content);
    }
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void CheckpointFolder::write(const Checkpoint& checkpoint) {
  const int64_t step = checkpoint.run.step;
  MSA_CHECK(step >= 0, "the step of a checkpoint must not be negative, got ", step);
  for (const auto& [name, tensors] : kFiles) {
    const std::vector<std::string> names = not_finite(checkpoint.*tensors);
    if (!names.empty()) {
      throw Error(ErrorCode::kInternal, "no checkpoint of step ", step, ": tensor \"", names[0],
                  "\" holds a value that is not finite");
    }
  }
  if (!files_.exists(folder_)) {
    files_.create_directory(folder_);
    files_.sync_directory(folder_.has_parent_path() ? folder_.parent_path() : ".");
  }
  for (const std::string& name : files_.list(folder_)) {
    if (std::filesystem::path(name).extension() == kUnfinished) discard(folder_ / name);
  }
  const std::filesystem::path path = path_of(step);
  if (!files_.exists(path) || !is_good(step)) {
    if (files_.exists(path)) discard(path);
    std::filesystem::path unfinished = path;
    unfinished += kUnfinished;
    files_.create_directory(unfinished);
    try {
      Json contents_of = Json::object();
      for (const auto& [name, tensors] : kFiles) {
        if (name == kSimilar && checkpoint.similar.empty()) continue;
        contents_of[std::string(name)] =
            write_tensors(files_, unfinished / name, checkpoint.*tensors);
      }
      write_run(files_, unfinished / kRun, checkpoint.run, contents_of);
      files_.sync_directory(unfinished);
      files_.rename(unfinished, path);
    } catch (...) {
      try {
        discard(unfinished);  // there may be no room for both
      } catch (const Error&) {
        // What stopped the write is what the caller must know.
      }
      throw;
    }
    files_.sync_directory(folder_);
  }
  std::vector<int64_t> kept = steps();
  const auto later = std::upper_bound(kept.begin(), kept.end(), step);
  for (auto it = later; it != kept.end(); ++it) discard(path_of(*it));
  kept.erase(later, kept.end());
  for (size_t i = 0; i + static_cast<size_t>(keep_) < kept.size(); ++i) discard(path_of(kept[i]));
}

Checkpoint CheckpointFolder::read(int64_t step) const {
  const std::filesystem::path path = path_of(step);
  const std::string what = (path / kRun).string();
  const Json content = read_run(files_, path / kRun);
  Checkpoint checkpoint;
  RunState& run = checkpoint.run;
  for (const auto& [key, value] : {std::pair{"step", &run.step},
                                   {"phase", &run.phase},
                                   {"phase_step", &run.phase_step},
                                   {"tokens", &run.tokens},
                                   {"phase_tokens", &run.phase_tokens}}) {
    *value = json_integer(content, key, 0, kMaxCount, what);
  }
  for (const auto& [key, value] :
       {std::pair{"seconds", &run.seconds}, {"phase_seconds", &run.phase_seconds}}) {
    *value = json_number(content, key, 0, 1e15, what);
  }
  run.more = content.at("more");
  run.config = json_string(content, "config", what);
  if (run.step != step) {
    throw Error(ErrorCode::kCorruption, what, " is of step ", run.step);
  }
  for (const auto& [name, tensors] : kFiles) {
    if (!has_file(content, name)) continue;
    verify_file(files_, path / name, content);
    checkpoint.*tensors = read_tensors(files_, path / name);
  }
  return checkpoint;
}

std::optional<Checkpoint> CheckpointFolder::newest(
    const std::function<void(const std::string& problem)>& on_damage) const {
  std::vector<int64_t> left = steps();
  for (; !left.empty(); left.pop_back()) {
    try {
      return read(left.back());
    } catch (const Error& error) {
      if (on_damage) on_damage(error.what());
    }
  }
  return std::nullopt;
}

}  // namespace msa::train
