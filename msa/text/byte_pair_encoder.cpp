#include "msa/text/byte_pair_encoder.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <queue>

#include "msa/base/error.h"

namespace msa::text {
namespace {

constexpr uint64_t kNoKey = ~uint64_t{0};
constexpr size_t kShortPiece = 48;

uint64_t key_of(int32_t first, int32_t second) {
  return static_cast<uint64_t>(static_cast<uint32_t>(first)) << 32 | static_cast<uint32_t>(second);
}

uint64_t mixed(uint64_t value) {
  value *= 0x9e3779b97f4a7c15U;
  return value ^ value >> 29;
}

/// A word of at most 16 bytes as two numbers, that with its length tell it from every other: its
/// first and its last bytes, which may overlap.
struct PackedWord {
  uint64_t first = 0;
  uint64_t last = 0;

  explicit PackedWord(std::string_view word) {
    const char* data = word.data();
    const size_t size = word.size();
    if (size >= 8) {
      std::memcpy(&first, data, 8);
      std::memcpy(&last, data + size - 8, 8);
    } else if (size >= 4) {
      uint32_t parts[2];
      std::memcpy(&parts[0], data, 4);
      std::memcpy(&parts[1], data + size - 4, 4);
      first = parts[0];
      last = parts[1];
    } else {
      for (const char c : word) first = first << 8 | static_cast<unsigned char>(c);
    }
  }
  bool operator==(const PackedWord&) const = default;
};

/// Words seen before and their ids, one table a thread; a new word takes the place of an old one.
class WordCache {
 public:
  static constexpr size_t kMaxBytes = 16;
  static constexpr size_t kMaxIds = 4;

  struct Entry {
    PackedWord word{{}};
    uint32_t serial = 0;
    uint8_t num_bytes = 0;
    uint8_t num_ids = 0;
    int32_t ids[kMaxIds];
  };

  Entry& slot(uint32_t serial, const PackedWord& word, size_t size) {
    const uint64_t hash = mixed(word.first + serial) ^ (word.last * 0xc2b2ae3d27d4eb4fU + size);
    return entries_[mixed(hash) >> 50];
  }

  static WordCache& of_thread() {
    thread_local const auto cache = std::make_unique<WordCache>();
    return *cache;
  }

 private:
  Entry entries_[size_t{1} << 14];
};

}  // namespace

BytePairEncoder::BytePairEncoder(const std::vector<std::string>& tokens,
                                 std::span<const std::pair<int32_t, int32_t>> merges,
                                 const std::set<int32_t>& special) {
  static std::atomic<uint32_t> num_encoders{0};
  serial_ = ++num_encoders;
  std::unordered_map<std::string_view, int32_t> id_of;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const auto number = static_cast<int32_t>(id);
    if (!special.contains(number)) id_of.emplace(tokens[id], number);
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const auto found = id_of.find(std::string_view(&c, 1));
    if (found == id_of.end()) {
      throw Error(ErrorCode::kInvalidFormat, "the vocabulary has no token for the byte ", byte);
    }
    byte_ids_[static_cast<size_t>(byte)] = found->second;
  }
  const uint64_t num_slots = std::bit_ceil(std::max<uint64_t>(2 * merges.size(), 16));
  mask_ = num_slots - 1;
  keys_.assign(num_slots, kNoKey);
  merges_.resize(num_slots);
  int32_t rank = 0;
  for (const auto& [first, second] : merges) {
    const auto joined =
        id_of.find(tokens[static_cast<size_t>(first)] + tokens[static_cast<size_t>(second)]);
    if (joined == id_of.end()) {
      throw Error(ErrorCode::kInvalidFormat, "merge ", rank, " of tokens ", first, " and ", second,
                  " gives no token of the vocabulary");
    }
    const uint64_t key = key_of(first, second);
    uint64_t slot = mixed(key) & mask_;
    while (keys_[slot] != kNoKey && keys_[slot] != key) slot = (slot + 1) & mask_;
    keys_[slot] = key;
    merges_[slot] = {rank++, joined->second};
  }
}

const BytePairEncoder::Merge* BytePairEncoder::find(int32_t first, int32_t second) const {
  const uint64_t key = key_of(first, second);
  for (uint64_t slot = mixed(key) & mask_;; slot = (slot + 1) & mask_) {
    if (keys_[slot] == key) return &merges_[slot];
    if (keys_[slot] == kNoKey) return nullptr;
  }
}

void BytePairEncoder::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece.size() > WordCache::kMaxBytes) {
    if (piece.size() > kShortPiece) {
      merge_long(piece, ids);
    } else {
      merge_short(piece, ids);
    }
    return;
  }
  const PackedWord word(piece);
  WordCache::Entry& entry = WordCache::of_thread().slot(serial_, word, piece.size());
  if (entry.word == word && entry.serial == serial_ && entry.num_bytes == piece.size()) {
    for (uint8_t i = 0; i < entry.num_ids; ++i) ids.push_back(entry.ids[i]);
    return;
  }
  const size_t first = ids.size();
  merge_short(piece, ids);
  const size_t count = ids.size() - first;
  if (count <= WordCache::kMaxIds) {
    entry.word = word;
    entry.serial = serial_;
    entry.num_bytes = static_cast<uint8_t>(piece.size());
    entry.num_ids = static_cast<uint8_t>(count);
    std::copy_n(ids.begin() + static_cast<ptrdiff_t>(first), count, entry.ids);
  }
}

/// Takes the best pair, the leftmost of equals, until none merges.
void BytePairEncoder::merge_short(std::string_view piece, std::vector<int32_t>& ids) const {
  int32_t parts[kShortPiece];
  Merge merges[kShortPiece];  // of parts i and i + 1
  size_t count = piece.size();
  constexpr int32_t kNone = std::numeric_limits<int32_t>::max();
  for (size_t i = 0; i < count; ++i) {
    parts[i] = byte_ids_[static_cast<unsigned char>(piece[i])];
  }
  const auto look_up = [&](size_t i) {
    const Merge* merge = i + 1 < count ? find(parts[i], parts[i + 1]) : nullptr;
    merges[i] = merge == nullptr ? Merge{kNone, 0} : *merge;
  };
  for (size_t i = 0; i < count; ++i) look_up(i);
  for (;;) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (count < 2 || merges[best].rank == kNone) break;
    parts[best] = merges[best].result;
    std::copy(parts + best + 2, parts + count, parts + best + 1);
    std::copy(merges + best + 2, merges + count, merges + best + 1);
    --count;
    look_up(best);
    if (best > 0) look_up(best - 1);
  }
  ids.insert(ids.end(), parts, parts + count);
}

/// The same by a queue of pairs over a linked list of parts.
void BytePairEncoder::merge_long(std::string_view piece, std::vector<int32_t>& ids) const {
  struct Part {
    int32_t id = 0;
    int64_t before = 0;
    int64_t after = 0;  // -1 at the end
    bool is_gone = false;
  };
  struct Candidate {
    int32_t rank = 0;
    int64_t place = 0;
    int32_t first = 0;
    int32_t second = 0;
    int32_t result = 0;
    bool operator>(const Candidate& other) const {
      return std::pair(rank, place) > std::pair(other.rank, other.place);
    }
  };
  const auto count = static_cast<int64_t>(piece.size());
  std::vector<Part> parts(piece.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](int64_t place) {
    if (place < 0 || parts[place].after < 0) return;
    const int32_t first = parts[place].id;
    const int32_t second = parts[parts[place].after].id;
    if (const Merge* merge = find(first, second)) {
      queue.push({merge->rank, place, first, second, merge->result});
    }
  };
  for (int64_t i = 0; i < count; ++i) {
    parts[i] = {byte_ids_[static_cast<unsigned char>(piece[i])], i - 1, i + 1 < count ? i + 1 : -1};
  }
  for (int64_t i = 0; i < count; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Part& part = parts[best.place];
    if (part.is_gone || part.after < 0 || part.id != best.first ||
        parts[part.after].id != best.second) {
      continue;  // one of the two has merged since
    }
    Part& gone = parts[part.after];
    part.id = best.result;
    part.after = gone.after;
    gone.is_gone = true;
    if (part.after >= 0) parts[part.after].before = best.place;
    offer(best.place);
    offer(part.before);
  }
  for (int64_t i = 0; i >= 0; i = parts[i].after) ids.push_back(parts[i].id);
}

}  // namespace msa::text
