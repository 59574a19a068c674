#include <sqlite3.h>

#include <cstring>

#include "msa/memory/bank.h"
#include "msa/memory/catalog.h"
#include "msa/memory/catalog_rows.h"
#include "msa/samples/token_store.h"
#include "msa/storage/segment_file.h"
#include "msa/storage/tensor_files.h"
#include "tests/attacks/attack.h"
#include "tests/support/memory_files.h"

namespace msa::attacks {
namespace {

std::string number_bytes(uint64_t number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

std::string safetensors(const std::string& header, const std::string& data) {
  return number_bytes(header.size()) + header + data;
}

std::string tensor(const std::string& name, const std::string& type, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + type + R"(","shape":)" + shape + R"(,"data_offsets":)" +
         offsets + "}";
}

std::string one_tensor(const std::string& type, const std::string& shape,
                       const std::string& offsets, size_t data_bytes) {
  return safetensors("{" + tensor("a", type, shape, offsets) + "}", std::string(data_bytes, 'x'));
}

std::string repeated(const std::string& part, size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += part;
  return text;
}

void add_safetensors(std::vector<Attack>& attacks) {
  const Reader read = [](const auto& path) {
    storage::SafetensorsFile::open(real_file_system(), path);
  };
  const auto add = [&](const std::string& name, const std::string& bytes, const std::string& says,
                       ErrorCode code = ErrorCode::kInvalidFormat) {
    attacks.push_back({name, "model.safetensors", bytes, read, code, says});
  };
  const std::string good = one_tensor("F32", "[1]", "[0,4]", 4);
  add("EmptyFile", "", "needs at least 8");
  add("HeaderOfAllAddressSpace", number_bytes(~uint64_t{0}) + good.substr(8), "the header claims");
  add("HeaderPastTheEnd", number_bytes(good.size() - 7) + good.substr(8), "the header claims");
  add("FileCutInItsHeader", good.substr(0, 20), "the header claims");
  add("FileCutInItsData", good.substr(0, good.size() - 1), "outside the 3 bytes");
  add("HeaderLargerThanAllowed", safetensors(std::string(17 * kMebibyte, ' '), ""), "at most",
      ErrorCode::kLimit);
  add("SideOfTwoToThe63", one_tensor("U8", "[9223372036854775808]", "[0,4]", 4),
      "larger than any file");
  add("SizeThatOverflowsToTheRightOne", one_tensor("F32", "[4611686018427387905]", "[0,4]", 4),
      "larger than any file");
  add("ProductOfTwoToThe64", one_tensor("U8", "[4294967296,4294967296]", "[0,0]", 0),
      "larger than any file");
  add("OverflowBesideASideOfZero", one_tensor("U8", "[0,4294967296,4294967296]", "[0,0]", 0),
      "larger than any file");
  add("NegativeSide", one_tensor("F32", "[-1]", "[0,4]", 4), "whole number");
  add("SideWithAnExponent", one_tensor("F32", "[1e0]", "[0,4]", 4), "whole number");
  add("NineSides", one_tensor("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]", 4), "shape at most 8");
  add("MillionSides", one_tensor("F32", "[" + repeated("1,", kMebibyte) + "1]", "[0,4]", 4),
      "shape at most 8");
  add("ShapeLargerThanItsBytes", one_tensor("F32", "[1000000]", "[0,4]", 4), "shape and dtype");
  add("OffsetPastTheEnd", one_tensor("F32", "[2]", "[0,8]", 4), "outside the 4 bytes");
  add("OffsetOfTwoToThe64", one_tensor("F32", "[1]", "[0,18446744073709551615]", 4), "outside");
  add("OffsetsTheWrongWayRound", one_tensor("F32", "[1]", "[4,0]", 4), "outside");
  add("HoleAtTheStart", one_tensor("F32", "[1]", "[4,8]", 8), "side by side");
  add("HoleBetween",
      safetensors(
          "{" + tensor("a", "U8", "[1]", "[0,1]") + "," + tensor("b", "U8", "[1]", "[2,3]") + "}",
          "xyz"),
      "side by side");
  add("Overlap",
      safetensors(
          "{" + tensor("a", "U8", "[2]", "[0,2]") + "," + tensor("b", "U8", "[2]", "[1,3]") + "}",
          "xyz"),
      "side by side");
  std::string many = tensor("t", "U8", "[1]", "[0,1]");
  for (int i = 0; many.size() < size_t{kMebibyte}; ++i) {
    many += "," + tensor(std::to_string(i), "U8", "[1]", "[0,1]");
  }
  add("AllTensorsOfAMegabyteOnOneRange", safetensors("{" + many + "}", "x"), "side by side");
  add("Tail", good + "PK", "the tensors end at byte 4 of 6");
  add("AnotherFileBehindAZeroByte",
      safetensors(good.substr(8, good.size() - 12) + '\0' + "PK", "xxxx"), "a zero byte");
  add("MillionListsInEachOther", safetensors("{\"a\":" + std::string(kMebibyte, '['), ""),
      "nested deeper", ErrorCode::kLimit);
  add("MillionObjectsInEachOther", safetensors(repeated("{\"a\":", kMebibyte), ""), "nested deeper",
      ErrorCode::kLimit);
  add("MillionEmptyLists", safetensors("{\"a\":[" + repeated("[],", kMebibyte) + "[]]}", ""),
      "exactly dtype");
  add("NameTwice",
      safetensors(
          "{" + tensor("a", "U8", "[1]", "[0,1]") + "," + tensor("a", "U8", "[1]", "[1,2]") + "}",
          "xy"),
      "stands twice");
  add("MetadataOfNumbers", safetensors(R"({"__metadata__":{"a":1}})", ""), "must be a string");
  add("UnknownType", one_tensor("F33", "[1]", "[0,4]", 4), "unknown dtype");
  add("NameThatIsNotUtf8", one_tensor("\xff", "[1]", "[0,4]", 4), "not JSON at byte");
}

void add_indexes(std::vector<Attack>& attacks) {
  const auto add = [&](const std::string& name, const std::string& map, const std::string& says) {
    attacks.push_back({name, "model.safetensors.index.json", R"({"weight_map":)" + map + "}",
                       [](const auto& path) {
                         storage::TensorFiles::open(real_file_system(), path.parent_path());
                       },
                       ErrorCode::kInvalidFormat, says});
  };
  add("IndexThatLeavesItsFolder", R"({"a":"../../etc/passwd"})", "same folder");
  add("IndexWithAnAbsolutePath", R"({"a":"/etc/passwd"})", "same folder");
  add("IndexWithAZeroByteInAName", R"({"a":"a\u0000"})", "same folder");
}

/// A segment of one block whose digests are right.
std::string with_digest(std::string bytes) {
  const auto digest = storage::digest_of(std::as_bytes(std::span(bytes)));
  return bytes.append(reinterpret_cast<const char*>(digest.data()), digest.size());
}

void add_segments(std::vector<Attack>& attacks) {
  const auto add = [&](const std::string& name, const std::string& bytes, uint64_t says_bytes,
                       const std::string& says) {
    const auto table =
        std::as_bytes(std::span(bytes)).subspan(bytes.size() - sizeof(storage::Digest));
    const storage::Digest digest = storage::digest_of(table);
    attacks.push_back({name, "000001.msa", bytes,
                       [=](const auto& path) {
                         FilePool pool(real_file_system(), 1);
                         storage::SegmentFile::open(pool, path, says_bytes, digest);
                       },
                       ErrorCode::kCorruption, says});
  };
  const std::string data(64, 'x');
  MemoryFiles files;
  storage::write_segment(files, "x",
                         std::vector<storage::TensorToWrite>{
                             {"a", storage::DataType::kU8, {64}, std::as_bytes(std::span(data))}},
                         {});
  const std::string good = files.at("x");
  add("SegmentLongerThanTheCatalogSays", good, good.size() + 1, "were written");
  add("SegmentOfTwoToThe63Bytes", good, uint64_t{1} << 63, "were written");
  std::string flipped = good;
  flipped[20] ^= 1;
  add("SegmentWithAFlippedBit", flipped, good.size(), "block is damaged");
  const std::string lying = with_digest(number_bytes(~uint64_t{0} >> 1) + good.substr(8, 100));
  add("SegmentOfRightDigestsWhoseHeaderLies", lying, lying.size(), "the header claims");
  const std::string without = with_digest(one_tensor("U8", "[16]", "[0,16]", 0));
  add("SegmentThatDoesNotNameItsDigests", without, without.size(), "there is no tensor");
  const std::string elsewhere =
      with_digest(safetensors("{" + tensor("block_digests", "U8", "[1,16]", "[0,16]") + "," +
                                  tensor("a", "U8", "[16]", "[16,32]") + "}",
                              std::string(16, 'x')));
  add("SegmentWhoseDigestsAreOutOfPlace", elsewhere, elsewhere.size(), "out of place");
}

/// The bytes of a database that these statements make.
std::string database(const std::vector<std::string>& statements) {
  sqlite3* memory = nullptr;
  sqlite3_open(":memory:", &memory);
  for (const std::string& sql : statements) {
    sqlite3_exec(memory, sql.c_str(), nullptr, nullptr, nullptr);
  }
  sqlite3_int64 size = 0;
  unsigned char* bytes = sqlite3_serialize(memory, "main", &size, 0);
  std::string copy(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
  sqlite3_free(bytes);
  sqlite3_close(memory);
  return copy;
}

void add_catalogs(std::vector<Attack>& attacks) {
  const Reader read = [](const std::filesystem::path& path) {
    // What verification says first; it throws nothing for what is damaged.
    const auto problems = memory::verify_bank(real_file_system(), path.parent_path());
    const auto catalog = memory::Catalog::open(real_file_system(), path.parent_path(),
                                               storage::Database::Mode::kRead);
    if (!problems.empty()) catalog->snapshot();
  };
  const auto add = [&](const std::string& name, const std::string& bytes, const std::string& says) {
    attacks.push_back({name, "catalog.db", bytes, read, ErrorCode::kCorruption, says});
  };
  const std::string forever =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, i, i FROM n";
  const std::vector<std::string> ours(memory::kCatalogSchema.begin(), memory::kCatalogSchema.end());
  add("CatalogOfNoDatabase", std::string(8192, 'x'), "not a database");
  add("CatalogCut", database(ours).substr(0, 5000), "malformed");
  add("CatalogWhoseFactsAreAViewWithoutEnd", database({"CREATE VIEW facts AS " + forever}),
      "no table of facts");
  add("CatalogWithACheckThatTakesAGigabyte",
      database({"CREATE TABLE facts (key TEXT, CHECK (length(randomblob(900000000)) > 0))",
                "PRAGMA ignore_check_constraints = ON", "INSERT INTO facts VALUES ('a')"}),
      "no table of facts");
  std::vector<std::string> more = ours;
  more.emplace_back("CREATE TRIGGER t AFTER INSERT ON facts BEGIN DELETE FROM passages; END");
  for (const auto& [key, value] :
       memory::facts_to_text({.model_fingerprint = "m",
       .tokenizer_fingerprint = "t",
       .model_name = "n",
       .shape = {.num_layers = 1, .num_kv_heads = 1, .head_dim = 8, .chunk_tokens = 4},
       .max_passage_tokens = 9})) {
    const std::string digest = storage::to_hex(memory::row_digest(memory::Fact{key, value}));
    more.push_back("INSERT INTO facts VALUES ('" + key + "', '" + value + "', x'" + digest + "')");
  }
  add("CatalogWithATrigger", database(more), "not those of a bank");
}

void add_token_stores(std::vector<Attack>& attacks) {
  const Reader read = [](const auto& path) {
    samples::TokenStore::open(real_file_system(), path, {});
  };
  const auto file = [](uint64_t passages, uint64_t tokens, uint64_t characters) {
    return std::string("msatoken") + std::string("\1\0\0\0\2\0\0\0", 8) + std::string(16, '\0') +
           number_bytes(passages) + number_bytes(tokens) + number_bytes(characters) +
           std::string(16, '\0') + std::string(64, '\0');
  };
  for (const auto& [name, bytes] :
       {std::pair("TokensOfTwoToThe58Passages", file(uint64_t{1} << 58, 64, 0)),
        std::pair("TokensWhoseSizesOverflow", file(1, ~uint64_t{0} - 1, 2)),
        std::pair("TokensOfTwoToThe64Characters", file(0, 0, ~uint64_t{0}))}) {
    attacks.push_back({name, "a.tokens", bytes, read, ErrorCode::kCorruption, "says otherwise"});
  }
}

}  // namespace

std::vector<Attack> storage_attacks() {
  std::vector<Attack> attacks;
  add_safetensors(attacks);
  add_indexes(attacks);
  add_segments(attacks);
  add_catalogs(attacks);
  add_token_stores(attacks);
  return attacks;
}

}  // namespace msa::attacks
