#include "tests/crash/disk_model.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <utility>

namespace msa::crash {
namespace {

bool is_drawn(double chance, std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1p-53 < chance;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

/// Makes the content at least `size` long: with zeros, or with what lay on the disk before.
void grow(std::string& content, uint64_t size, bool has_noise, std::mt19937_64& random) {
  if (content.size() >= size) return;
  const size_t before = content.size();
  content.resize(size, '\0');
  if (!has_noise) return;
  for (size_t i = before; i < size; ++i) content[i] = static_cast<char>(random());
}

}  // namespace

Loss draw_loss(int variant, std::mt19937_64& random) {
  if (variant == 0) return {};
  if (variant == 1) return {.kept_bytes = 1, .kept_names = 1};
  constexpr double kChances[] = {0, 0.1, 0.5, 0.9, 1};
  constexpr uint64_t kGrains[] = {0, 512, 4096};
  Loss loss;
  loss.kept_bytes = kChances[random() % 5];
  loss.kept_names = kChances[random() % 5];
  loss.grain_bytes = kGrains[random() % 3];
  loss.has_noise = random() % 4 == 0;
  loss.is_in_order = random() % 4 == 0;
  return loss;
}

std::optional<int> DiskModel::now(const std::string& path) const {
  const auto found = names_.find(path);
  if (found == names_.end()) return std::nullopt;
  const Name& name = found->second;
  return name.changes.empty() ? name.durable : name.changes.back().target;
}

void DiskModel::change_name(const std::string& path, NameChange change) {
  change.moment = moment_;
  names_[path].changes.push_back(std::move(change));
}

void DiskModel::sync(Content& content) {
  for (Change& change : content.changes) {
    if (change.state == Change::State::kPending) change.state = Change::State::kDurable;
  }
  auto first = content.changes.begin();
  for (; first != content.changes.end() && first->state == Change::State::kDurable; ++first) {
    if (first->is_truncation) {
      content.durable.resize(first->offset, '\0');
    } else {
      content.durable.resize(std::max(content.durable.size(), first->offset + first->bytes.size()));
      content.durable.replace(first->offset, first->bytes.size(), first->bytes);
    }
  }
  content.changes.erase(content.changes.begin(), first);
}

void DiskModel::apply(const DiskEvent& event) {
  ++moment_;
  switch (event.kind) {
    case DiskEvent::Kind::kCreate:
      contents_[event.file] = {};
      change_name(event.path, {.target = event.file});
      break;
    case DiskEvent::Kind::kWrite:
      contents_[event.file].changes.push_back(
          {.offset = event.offset, .bytes = event.bytes, .moment = moment_});
      break;
    case DiskEvent::Kind::kTruncate:
      contents_[event.file].changes.push_back(
          {.is_truncation = true, .offset = event.offset, .bytes = {}, .moment = moment_});
      break;
    case DiskEvent::Kind::kSync:
      sync(contents_[event.file]);
      break;
    case DiskEvent::Kind::kFailedSync:
      for (Change& change : contents_[event.file].changes) {
        if (change.state == Change::State::kPending) change.state = Change::State::kDoubtful;
      }
      break;
    case DiskEvent::Kind::kRename: {
      const auto file = now(event.path);
      if (!file || *file == kFolder) std::abort();  // not recorded, or a folder
      change_name(event.to, {.target = file, .moved_from = event.path});
      change_name(event.path, {.target = std::nullopt, .moved_to = event.to});
      break;
    }
    case DiskEvent::Kind::kRemove:
    case DiskEvent::Kind::kRemoveFolder:
      change_name(event.path, {.target = std::nullopt});
      break;
    case DiskEvent::Kind::kCreateFolder:
      change_name(event.path, {.target = kFolder});
      break;
    case DiskEvent::Kind::kSyncFolder:
      for (auto& [path, name] : names_) {
        if (folder_of(path) != event.path || name.changes.empty()) continue;
        name.durable = name.changes.back().target;
        name.changes.clear();
      }
      break;
  }
}

/// Of each name how many of its changes are kept.
std::map<std::string, size_t> DiskModel::draw_names(const Loss& loss, size_t end,
                                                    std::mt19937_64& random) const {
  std::map<std::string, size_t> chosen;
  for (const auto& [path, name] : names_) {
    const size_t count = name.changes.size();
    size_t kept = 0;
    if (loss.is_in_order) {
      while (kept < count && name.changes[kept].moment <= end) ++kept;
    } else if (is_drawn(loss.kept_names, random)) {
      kept = count;
    } else if (loss.kept_names > 0) {
      kept = random() % (count + 1);
    }
    chosen[path] = kept;
  }
  keep_renames_atomic(chosen);
  return chosen;
}

void DiskModel::keep_renames_atomic(std::map<std::string, size_t>& chosen) const {
  const auto keep = [&](const std::string& path, size_t moment) {
    const auto& changes = names_.at(path).changes;
    for (size_t i = 0; i < changes.size(); ++i) {
      if (changes[i].moment == moment && chosen[path] <= i) {
        chosen[path] = i + 1;
        return true;
      }
    }
    return false;  // durable, or kept already
  };
  for (bool has_changed = true; has_changed;) {
    has_changed = false;
    for (const auto& [path, name] : names_) {
      for (size_t i = 0; i < chosen[path]; ++i) {
        const NameChange& change = name.changes[i];
        if (!change.moved_to.empty()) has_changed |= keep(change.moved_to, change.moment);
        if (!change.moved_from.empty() && folder_of(change.moved_from) == folder_of(path)) {
          has_changed |= keep(change.moved_from, change.moment);
        }
      }
    }
  }
}

DiskModel DiskModel::after_power_loss(const Loss& loss, std::mt19937_64& random) const {
  size_t first = moment_;  // of what is not durable
  for (const auto& [path, name] : names_) {
    if (!name.changes.empty()) first = std::min(first, name.changes.front().moment);
  }
  for (const auto& [file, content] : contents_) {
    if (!content.changes.empty()) first = std::min(first, content.changes.front().moment);
  }
  const size_t end = first - 1 + random() % (moment_ - first + 2);  // of order: up to this moment
  DiskModel after;
  for (const auto& [path, kept] : draw_names(loss, end, random)) {
    const Name& name = names_.at(path);
    const auto target = kept == 0 ? name.durable : name.changes[kept - 1].target;
    if (target) after.names_[path].durable = target;
  }
  for (const auto& [path, name] : after.names_) {
    const int file = *name.durable;
    if (file == kFolder || after.contents_.contains(file)) continue;
    const Content& content = contents_.at(file);
    std::string bytes = content.durable;
    for (const Change& change : content.changes) {
      double chance = loss.kept_bytes;
      uint64_t grain = loss.grain_bytes;
      if (loss.is_in_order && change.state == Change::State::kPending) {
        chance = change.moment < end ? 1 : (change.moment == end ? 0.5 : 0);
        if (grain == 0) grain = 512;
      }
      if (change.state == Change::State::kDurable) chance = 1;
      if (change.is_truncation) {
        if (is_drawn(chance, random)) bytes.resize(change.offset, '\0');
        continue;
      }
      const uint64_t change_end = change.offset + change.bytes.size();
      for (uint64_t from = change.offset; from < change_end;) {
        const uint64_t to =
            grain == 0 ? change_end : std::min(change_end, (from / grain + 1) * grain);
        if (is_drawn(chance, random)) {
          grow(bytes, to, loss.has_noise, random);
          bytes.replace(from, to - from, change.bytes, from - change.offset, to - from);
        } else if (chance > 0 && random() % 2 == 0) {
          grow(bytes, to, loss.has_noise, random);  // the size came without the bytes
        }
        from = to;
      }
    }
    after.contents_[file].durable = std::move(bytes);
  }
  return after;
}

void DiskModel::write_to(const std::filesystem::path& folder) const {
  std::map<int, std::filesystem::path> written;
  for (const auto& [path, name] : names_) {  // a folder comes before what is in it
    const auto place = folder / path;
    std::error_code error;
    if (!name.durable || !std::filesystem::exists(place.parent_path(), error)) continue;
    if (*name.durable == kFolder) {
      std::filesystem::create_directory(place);
    } else if (const auto other = written.find(*name.durable); other != written.end()) {
      std::filesystem::create_hard_link(other->second, place);
    } else {
      std::ofstream(place, std::ios::binary) << contents_.at(*name.durable).durable;
      written[*name.durable] = place;
    }
  }
}

storage::Digest DiskModel::digest() const {
  storage::Digester digester;
  for (const auto& [path, name] : names_) {
    if (!name.durable) continue;
    digester.add(path + '\0');
    if (*name.durable == kFolder) continue;
    const std::string& bytes = contents_.at(*name.durable).durable;
    digester.add(std::to_string(bytes.size()) + '\0');
    digester.add(bytes);
  }
  return digester.finish();
}

std::map<std::string, int> DiskModel::files() const {
  std::map<std::string, int> files;
  for (const auto& [path, name] : names_) {
    const auto target = now(path);
    if (target && *target != kFolder) files[path] = *target;
  }
  return files;
}

}  // namespace msa::crash
