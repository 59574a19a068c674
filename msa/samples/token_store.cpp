#include "msa/samples/token_store.h"

#include <bit>
#include <cstring>
#include <limits>

#include "msa/base/error.h"

namespace msa::samples {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[8] = {'m', 's', 'a', 't', 'o', 'k', 'e', 'n'};
constexpr size_t kShown = static_cast<size_t>(Title::kShown);
constexpr size_t kHidden = static_cast<size_t>(Title::kHidden);

struct Header {
  char magic[8] = {};
  uint32_t version = 0;
  uint32_t token_bytes = 0;
  storage::Digest key{};
  uint64_t num_passages = 0;
  uint64_t tokens_bytes = 0;
  uint64_t num_characters = 0;
  storage::Digest digest{};  // of the header before it and all behind it
};
static_assert(sizeof(Header) == 72 && sizeof(Header) % alignof(PassageRecord) == 0);

storage::Digest digest_of(const Header& header,
                          std::initializer_list<std::span<const std::byte>> parts) {
  storage::Digester digester;
  digester.add(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, digest)));
  for (const auto part : parts) digester.add(part);
  return digester.finish();
}

uint32_t length(size_t size) {
  if (size > std::numeric_limits<uint32_t>::max()) {
    throw Error(ErrorCode::kLimit, "a passage of ", size, " bytes");
  }
  return static_cast<uint32_t>(size);
}

/// Tokens of a record in the order in which they stand.
struct Places {
  explicit Places(const PassageRecord& record) {
    uint64_t next = record.first_token;
    const auto take = [&](uint32_t count) {
      const uint64_t first = next;
      next += count;
      return first;
    };
    heads[kShown] = take(record.heads[kShown]);
    heads[kHidden] = take(record.heads[kHidden]);
    body = take(record.body);
    for (const size_t title : {kShown, kHidden}) {
      for (size_t frame = 0; frame < 2; ++frame)
        tails[title][frame] = take(record.tails[title][frame]);
    }
    end = next;
  }

  uint64_t heads[2] = {};
  uint64_t body = 0;
  uint64_t tails[2][2] = {};
  uint64_t end = 0;
};

/// Whose head and tail a passage without its title has.
size_t head_of(const PassageRecord& record, Title title) {
  return title == Title::kHidden && record.heads[kHidden] > 0 ? kHidden : kShown;
}
size_t tail_of(const PassageRecord& record, Title title, size_t frame) {
  return title == Title::kHidden && record.tails[kHidden][frame] > 0 ? kHidden : kShown;
}

}  // namespace

void TokenStoreWriter::add_tokens(std::span<const int32_t> tokens) {
  const size_t before = tokens_.size();
  tokens_.resize(before + tokens.size() * token_bytes_);
  std::byte* next = tokens_.data() + before;
  for (const int32_t token : tokens) {
    std::memcpy(next, &token, token_bytes_);  // the low bytes come first
    next += token_bytes_;
  }
}

void TokenStoreWriter::add(std::string_view name, std::string_view title, std::string_view text,
                           const FrameTokens& frames) {
  PassageRecord record;
  record.first_token = tokens_.size() / token_bytes_;
  record.first_byte = characters_.size();
  const storage::Digest digest = storage::digest_of(std::as_bytes(std::span(text)));
  std::memcpy(&record.text_digest, digest.data(), sizeof record.text_digest);
  record.name_bytes = length(name.size());
  record.title_bytes = length(title.size());
  record.text_bytes = length(text.size());
  for (const std::string_view part : {name, title, text}) characters_ += part;
  const auto add_part = [&](const std::vector<int32_t>& tokens) {
    add_tokens(tokens);
    return length(tokens.size());
  };
  record.heads[kShown] = add_part(frames.heads[kShown]);
  if (frames.heads[kHidden] != frames.heads[kShown]) {
    record.heads[kHidden] = add_part(frames.heads[kHidden]);
  }
  record.body = add_part(frames.body);
  for (size_t frame = 0; frame < 2; ++frame) {
    record.tails[kShown][frame] = add_part(frames.tails[kShown][frame]);
  }
  for (size_t frame = 0; frame < 2; ++frame) {
    if (frames.tails[kHidden][frame] != frames.tails[kShown][frame]) {
      record.tails[kHidden][frame] = add_part(frames.tails[kHidden][frame]);
    }
  }
  records_.push_back(record);
}

void TokenStoreWriter::write(FileSystem& files, const std::filesystem::path& path,
                             const storage::Digest& key) const {
  Header header{.version = kTokenStoreVersion,
                .token_bytes = token_bytes_,
                .key = key,
                .num_passages = records_.size(),
                .tokens_bytes = tokens_.size(),
                .num_characters = characters_.size()};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  const auto records = std::as_bytes(std::span(records_));
  const auto characters = std::as_bytes(std::span(characters_));
  header.digest = digest_of(header, {records, tokens_, characters});
  write_file_atomically(files, path, [&](File& file) {
    file.append(std::as_bytes(std::span(&header, 1)));
    for (const auto part : {records, std::span<const std::byte>(tokens_), characters}) {
      file.append(part);
    }
  });
}

std::unique_ptr<TokenStore> TokenStore::open(FileSystem& files, const std::filesystem::path& path,
                                             const storage::Digest& key) {
  const auto damaged = [&](const auto&... what) {
    return Error(ErrorCode::kCorruption, path.string(), ": ", what...);
  };
  std::unique_ptr<TokenStore> store(new TokenStore);
  store->file_ = MappedFile::open(files, path);
  const std::span<const std::byte> bytes = store->file_->bytes();
  Header header;
  if (bytes.size() < sizeof header) throw damaged("holds ", bytes.size(), " bytes: no header");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 ||
      header.version != kTokenStoreVersion) {
    throw damaged("no token file of version ", kTokenStoreVersion);
  }
  if (header.key != key) throw damaged("made of other documents or another tokenizer");
  // Sizes are bounded one by one, so that no sum overflows.
  uint64_t left = bytes.size() - sizeof header;
  const bool is_fit =
      (header.token_bytes == 2 || header.token_bytes == 4) &&
      header.num_passages <= left / sizeof(PassageRecord) &&
      header.tokens_bytes <= (left -= header.num_passages * sizeof(PassageRecord)) &&
      header.tokens_bytes % header.token_bytes == 0 &&
      header.num_characters == left - header.tokens_bytes;
  if (!is_fit) throw damaged("holds ", bytes.size(), " bytes, its header says otherwise");
  const auto rest = bytes.subspan(sizeof header);
  if (header.digest != digest_of(header, {rest})) throw damaged("its digest does not match");
  const size_t records_bytes = header.num_passages * sizeof(PassageRecord);
  store->records_ = {reinterpret_cast<const PassageRecord*>(rest.data()), header.num_passages};
  store->tokens_ = rest.subspan(records_bytes, header.tokens_bytes);
  store->token_bytes_ = header.token_bytes;
  const auto characters = rest.subspan(records_bytes + header.tokens_bytes);
  store->characters_ = {reinterpret_cast<const char*>(characters.data()), characters.size()};
  if (!store->has_whole_records()) throw damaged("a passage is out of place");
  return store;
}

/// A right digest says that we wrote it: this is for our own mistakes.
bool TokenStore::has_whole_records() const {
  uint64_t token = 0;
  uint64_t byte = 0;
  for (const PassageRecord& record : records_) {
    if (record.first_token != token || record.first_byte != byte) return false;
    token = Places(record).end;
    byte += uint64_t{record.name_bytes} + record.title_bytes + record.text_bytes;
  }
  return token * token_bytes_ == tokens_.size() && byte == characters_.size();
}

std::string_view TokenStore::name(int64_t passage) const {
  const PassageRecord& r = record(passage);
  return characters_.substr(r.first_byte, r.name_bytes);
}

std::string_view TokenStore::title(int64_t passage) const {
  const PassageRecord& r = record(passage);
  return characters_.substr(r.first_byte + r.name_bytes, r.title_bytes);
}

std::string_view TokenStore::text(int64_t passage) const {
  const PassageRecord& r = record(passage);
  return characters_.substr(r.first_byte + r.name_bytes + r.title_bytes, r.text_bytes);
}

void TokenStore::append_tokens(uint64_t first, uint32_t count, std::vector<int32_t>& tokens) const {
  const std::byte* source = tokens_.data() + first * token_bytes_;
  const auto add = [&]<typename Stored>(Stored) {
    for (uint32_t i = 0; i < count; ++i) {
      Stored token;
      std::memcpy(&token, source + i * sizeof token, sizeof token);
      tokens.push_back(static_cast<int32_t>(token));
    }
  };
  if (token_bytes_ == 2) {
    add(uint16_t{});
  } else {
    add(uint32_t{});
  }
}

void TokenStore::append(int64_t passage, Title title, Frame frame,
                        std::vector<int32_t>& tokens) const {
  const PassageRecord& r = record(passage);
  const Places places(r);
  const auto f = static_cast<size_t>(frame);
  const size_t head = head_of(r, title);
  const size_t tail = tail_of(r, title, f);
  append_tokens(places.heads[head], r.heads[head], tokens);
  append_tokens(places.body, r.body, tokens);
  append_tokens(places.tails[tail][f], r.tails[tail][f], tokens);
}

int64_t TokenStore::num_tokens(int64_t passage, Title title, Frame frame) const {
  const PassageRecord& r = record(passage);
  const auto f = static_cast<size_t>(frame);
  return int64_t{r.heads[head_of(r, title)]} + r.body + r.tails[tail_of(r, title, f)][f];
}

}  // namespace msa::samples
