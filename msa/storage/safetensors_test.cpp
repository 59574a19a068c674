#include "msa/storage/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "msa/base/error.h"
#include "msa/base/observed_file_system.h"
#include "msa/storage/tensor_files.h"

namespace msa::storage {
namespace {

class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(std::filesystem::path(testing::TempDir()) / ("msa_storage_" + name)) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string file_of(const std::string& header, const std::string& data,
                    uint64_t claimed = ~uint64_t{0}) {
  uint64_t length = claimed == ~uint64_t{0} ? header.size() : claimed;
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

TEST(Safetensors, AFileIsSyncedBeforeItIsRenamedAndItsFolderAfterwards) {
  const Folder folder("order");
  std::vector<std::string> calls;
  ObservedFileSystem files([&](std::string_view call, const std::filesystem::path& path) {
    if (!calls.empty() && call == "append" && calls.back().starts_with("append")) return;
    calls.push_back(std::string(call) + " " + path.filename().string());
  });
  const std::string data(8, 'x');
  const TensorToWrite tensors[] = {{"a", DataType::kU8, {8}, std::as_bytes(std::span(data))}};
  write_safetensors(files, folder.path() / "x", tensors);
  EXPECT_EQ(calls, (std::vector<std::string>{"create x.tmp", "append x.tmp", "sync x.tmp",
                                             "rename x", "sync folder msa_storage_order"}));
}

TEST(Safetensors, WhatIsWrittenIsReadBackForEveryType) {
  const Folder folder("roundtrip");
  std::string data(48, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7);
  for (const auto type :
       {DataType::kBool, DataType::kU8, DataType::kI8, DataType::kF8E4M3, DataType::kF8E5M2,
        DataType::kI16, DataType::kU16, DataType::kF16, DataType::kBF16, DataType::kI32,
        DataType::kU32, DataType::kF32, DataType::kI64, DataType::kU64, DataType::kF64}) {
    const int64_t count = 48 / data_type_bytes(type) / 2;
    const TensorToWrite tensor{"a", type, {2, count}, std::as_bytes(std::span(data))};
    const TensorToWrite empty{"empty", type, {0, 3}, {}};
    const TensorToWrite tensors[] = {tensor, empty};
    write_safetensors(real_file_system(), folder.path() / "x", tensors, {{"key", "value"}});
    const auto file = SafetensorsFile::open(real_file_system(), folder.path() / "x");
    EXPECT_EQ(file->metadata().at("key"), "value");
    EXPECT_EQ(file->tensor("a").shape, (std::vector<int64_t>{2, count}));
    std::string back(48, 'x');
    file->read("a", std::as_writable_bytes(std::span(back)));
    EXPECT_EQ(back, data);
  }
}

TEST(Safetensors, EveryLyingHeaderIsRefused) {
  const Folder folder("attacks");
  const std::string four(4, '\0');
  const auto tensor = [](const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
           offsets + "}}";
  };
  const std::string good = tensor("F32", "[1]", "[0,4]");
  ASSERT_NO_THROW(
      SafetensorsFile::open(real_file_system(), folder.write("good", file_of(good, four))));
  const std::vector<std::pair<std::string, std::string>> attacks{
      {"empty file", ""},
      {"seven bytes", std::string(7, '\0')},
      {"no header", file_of("", "")},
      {"header length 2^64-1", file_of(good, four, ~uint64_t{0} - 1)},
      {"header length past the end", file_of(good, four, good.size() + 5)},
      {"header length 2^63", file_of(good, four, uint64_t{1} << 63)},
      {"header a list", file_of("[]", "")},
      {"header a blank first", file_of(" " + good, four)},
      {"not JSON", file_of("{\"a\"", four)},
      {"deep", file_of(R"({"a":[[[[[1]]]]]})", "")},
      {"duplicate tensor",
       file_of(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
           "xx")},
      {"unknown type", file_of(tensor("F33", "[1]", "[0,4]"), four)},
      {"type a number", file_of(R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})", four)},
      {"missing shape", file_of(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", four)},
      {"extra key",
       file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", four)},
      {"negative side", file_of(tensor("F32", "[-1]", "[0,4]"), four)},
      {"fraction side", file_of(tensor("F32", "[1.0]", "[0,4]"), four)},
      {"text side", file_of(tensor("F32", "[\"1\"]", "[0,4]"), four)},
      {"shape too large", file_of(tensor("F32", "[2]", "[0,4]"), four)},
      {"shape too small", file_of(tensor("F32", "[]", "[0,8]"), four + four)},
      {"shape overflows to 4 bytes",
       file_of(tensor("F32", "[4611686018427387905]", "[0,4]"), four)},
      {"product overflows", file_of(tensor("U8", "[4294967296,4294967296]", "[0,0]"), "")},
      {"2^63 with zero", file_of(tensor("U8", "[9223372036854775808,0]", "[0,0]"), "")},
      {"product overflows beside a zero",
       file_of(tensor("U8", "[0,4294967296,4294967296]", "[0,0]"), "")},
      {"nine sides", file_of(tensor("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), four)},
      {"offsets reversed", file_of(tensor("F32", "[1]", "[4,0]"), four)},
      {"offsets negative", file_of(tensor("F32", "[1]", "[-4,0]"), four)},
      {"offset past the end", file_of(tensor("F32", "[2]", "[0,8]"), four)},
      {"offset 2^64-1", file_of(tensor("F32", "[1]", "[0,18446744073709551615]"), four)},
      {"offsets an object", file_of(tensor("F32", "[1]", R"({"0":0,"1":4})"), four)},
      {"shape an object", file_of(tensor("F32", R"({"0":1})", "[0,4]"), four)},
      {"one offset", file_of(tensor("F32", "[1]", "[4]"), four)},
      {"hole at the start", file_of(tensor("F32", "[1]", "[4,8]"), four + four)},
      {"tail", file_of(good, four + "tail")},
      {"hole between",
       file_of(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
           "xyz")},
      {"overlap",
       file_of(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           "xyz")},
      {"same range twice",
       file_of(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
           "xy")},
      {"metadata of numbers",
       file_of(R"({"__metadata__":{"a":1},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
               four)},
      {"metadata a list",
       file_of(R"({"__metadata__":[],"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
               four)},
      {"not UTF-8",
       file_of("{\"a\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", four)},
      {"tensor a list", file_of(R"({"a":[]})", "")},
      {"trailing after header", file_of(good + "{}", four)},
      {"nothing but a tail", file_of("{}", "x")},
  };
  for (const auto& [name, bytes] : attacks) {
    try {
      SafetensorsFile::open(real_file_system(), folder.write("attack", bytes));
      ADD_FAILURE() << name << " was accepted";
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kInvalidFormat || error.code() == ErrorCode::kLimit)
          << name << ": " << error.what();
      EXPECT_NE(std::string(error.what()).find("attack"), std::string::npos) << error.what();
    }
  }
}

TEST(Safetensors, TensorsWithoutElementsMayHaveLongSides) {
  const Folder folder("empty");
  const auto file = SafetensorsFile::open(
      real_file_system(),
      folder.write("x",
                   file_of(R"({"a":{"dtype":"F32","shape":[0,4096],"data_offsets":[0,0]}})", "")));
  EXPECT_EQ(file->tensor("a").shape, (std::vector<int64_t>{0, 4096}));
  EXPECT_NO_THROW(file->read("a", {}));
}

TEST(Safetensors, TruncatedOrChangedFilesAreRefusedOrHoldTheSameTensors) {
  const Folder folder("flips");
  const std::string good = file_of(
      R"({"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})",
      "12345678abc");
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_THROW(
        SafetensorsFile::open(real_file_system(), folder.write("cut", good.substr(0, length))),
        Error);
  }
  for (size_t bit = 0; bit < 8 * (good.size() - 11); ++bit) {
    std::string changed = good;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    try {
      const auto file = SafetensorsFile::open(real_file_system(), folder.write("flip", changed));
      uint64_t bytes = 0;
      for (const auto& [name, info] : file->tensors()) bytes += info.num_bytes;
      EXPECT_EQ(bytes, 11U);  // a name or a type of equal width changed
    } catch (const Error&) {
    }
  }
}

TEST(TensorFiles, TheIndexCannotLeaveItsFolderAndMustBeTrue) {
  const Folder folder("index");
  const std::string shard =
      file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x");
  folder.write("one.safetensors", shard);
  const auto open = [&](const std::string& map) {
    folder.write("model.safetensors.index.json", R"({"weight_map":)" + map + "}");
    return TensorFiles::open(real_file_system(), folder.path());
  };
  EXPECT_EQ(open(R"({"a":"one.safetensors"})").names(), std::vector<std::string>{"a"});
  for (const char* map :
       {R"({"a":"../one.safetensors"})", R"({"a":"/etc/passwd"})", R"({"a":""})",
        R"({"a":".hidden"})", R"({"a":7})", R"({"b":"one.safetensors"})", "{}x", "[]",
        R"({"a":"one.safetensors","b":"one.safetensors"})", R"({"a":"absent.safetensors"})"}) {
    EXPECT_THROW(open(map), Error) << map;
  }
  folder.write(
      "two.safetensors",
      file_of(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"c":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
          "xy"));
  EXPECT_THROW(open(R"({"a":"two.safetensors"})"), Error) << "a tensor that the index leaves out";
}

/// Tensors of one byte a value that hold their own name's first letter.
TensorStream stream(const std::string& name, int64_t size, DataType type = DataType::kU8) {
  return {.name = name, .type = type, .shape = {size}, .write = [=](const Append& append) {
            for (int64_t i = 0; i < size * data_type_bytes(type); ++i) {
              append(std::as_bytes(std::span(name).first(1)));
            }
          }};
}

TEST(TensorFiles, AreWrittenInShardsOfALimitAndReadBack) {
  struct Case {
    int64_t limit;
    std::vector<std::vector<std::string>> files;
  };
  const TensorStream tensors[] = {stream("a", 4), stream("b", 6), stream("c", 1), stream("d", 20),
                                  stream("e", 3)};
  const Case cases[] = {{34, {{"a", "b", "c", "d", "e"}}},
                        {33, {{"a", "b", "c", "d"}, {"e"}}},
                        {11, {{"a", "b", "c"}, {"d"}, {"e"}}},
                        {10, {{"a", "b"}, {"c"}, {"d"}, {"e"}}},
                        {1, {{"a"}, {"b"}, {"c"}, {"d"}, {"e"}}}};
  for (const Case& want : cases) {
    const Folder folder("shards");
    const size_t count = want.files.size();
    EXPECT_EQ(write_tensor_files(real_file_system(), folder.path(), tensors, want.limit),
              static_cast<int64_t>(count));
    for (size_t i = 0; i < count; ++i) {
      const std::string name = count == 1 ? "model.safetensors"
                                          : "model-0000" + std::to_string(i + 1) + "-of-0000" +
                                                std::to_string(count) + ".safetensors";
      const auto file = SafetensorsFile::open(real_file_system(), folder.path() / name);
      std::vector<std::string> names;
      for (const auto& [tensor, info] : file->tensors()) names.push_back(tensor);
      EXPECT_EQ(names, want.files[i]) << want.limit;
      EXPECT_EQ(file->metadata().at("format"), "pt");
    }
    EXPECT_EQ(std::filesystem::exists(folder.path() / "model.safetensors.index.json"), count > 1);
    const auto all = TensorFiles::open(real_file_system(), folder.path());
    for (const TensorStream& tensor : tensors) {
      std::string bytes(tensor.num_bytes(), ' ');
      all.find(tensor.name)->read(tensor.name, std::as_writable_bytes(std::span(bytes)));
      EXPECT_EQ(bytes, std::string(bytes.size(), tensor.name[0]));
    }
  }
  const Folder folder("shards");
  EXPECT_THROW(write_tensor_files(real_file_system(), folder.path(), tensors, 0), Error);
}

TEST(TensorFiles, WiderTypesComeFirstSoThatValuesAreAligned) {
  const Folder folder("aligned");
  const TensorStream tensors[] = {stream("a", 3, DataType::kBF16), stream("b", 1, DataType::kU8),
                                  stream("c", 2, DataType::kF32), stream("d", 1, DataType::kI64),
                                  stream("e", 5, DataType::kBF16)};
  write_tensor_files(real_file_system(), folder.path(), tensors, 1000);
  const auto file = SafetensorsFile::open(real_file_system(), folder.path() / "model.safetensors");
  for (const auto& [name, info] : file->tensors()) {
    EXPECT_EQ(info.offset % static_cast<uint64_t>(data_type_bytes(info.type)), 0U) << name;
  }
  EXPECT_LT(file->tensor("a").offset, file->tensor("e").offset);
}

TEST(Safetensors, AStreamThatGivesTooFewOrTooManyBytesMakesNoFile) {
  const Folder folder("lying");
  for (const size_t size : {size_t{7}, size_t{9}}) {
    TensorStream tensor = stream("a", 8);
    tensor.write = [=](const Append& append) {
      append(std::as_bytes(std::span("123456789").first(size)));
    };
    EXPECT_THROW(write_safetensors(real_file_system(), folder.path() / "x", std::span(&tensor, 1)),
                 Error);
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  }
}

TEST(Safetensors, APartOfATensorIsReadAndNothingBehindIt) {
  const Folder folder("part");
  const auto file = SafetensorsFile::open(
      real_file_system(),
      folder.write("x", file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                R"("b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
                                "123456")));
  std::string two(2, ' ');
  const auto out = std::as_writable_bytes(std::span(two));
  file->read_part("a", 2, out);
  EXPECT_EQ(two, "34");
  EXPECT_THROW(file->read_part("a", 3, out), Error);
  EXPECT_THROW(file->read_part("a", ~uint64_t{0}, out), Error);
}

/// What the call says, with `code` and the file's name.
template <typename Call>
void expect_error(const Call& call, ErrorCode code, const std::string& part) {
  try {
    call();
    ADD_FAILURE() << "no error: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Safetensors, HeadersAndNumbersOfTensorsHaveALimit) {
  const Folder folder("limits");
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  const auto path = folder.write("x", file_of(header, "x"));
  const auto open = [&](const SafetensorsLimits& limits) {
    return SafetensorsFile::open(real_file_system(), path, limits);
  };
  EXPECT_NO_THROW(open({.max_header_bytes = header.size(), .max_tensors = 1}));
  expect_error([&] { open({.max_header_bytes = header.size() - 1}); }, ErrorCode::kLimit,
               path.string() + ": the header holds " + std::to_string(header.size()) + " bytes");
  expect_error([&] { open({.max_tensors = 0}); }, ErrorCode::kLimit, path.string() + ": 1 tensors");
}

TEST(Safetensors, AWriterThatContradictsItselfMakesNoFile) {
  const Folder folder("writer");
  const std::string data(4, 'x');
  const auto bytes = std::as_bytes(std::span(data));
  const auto write = [&](const std::vector<TensorToWrite>& tensors) {
    write_safetensors(real_file_system(), folder.path() / "x", tensors, {{"a", "1"}, {"b", "2"}});
  };
  const TensorToWrite a{"a", DataType::kU8, {4}, bytes};
  expect_error([&] { write({a, a}); }, ErrorCode::kInvalidArgument, "\"a\" is used twice");
  expect_error(
      [&] {
        write({{"__metadata__", DataType::kU8, {4}, bytes}});
      },
      ErrorCode::kInvalidArgument, "\"__metadata__\" is used twice or reserved");
  expect_error(
      [&] {
        write({{"a", DataType::kU8, {5}, bytes}});
      },
      ErrorCode::kInvalidArgument, "\"a\" needs 5 bytes, got 4");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  write({a});
  const auto file = SafetensorsFile::open(real_file_system(), folder.path() / "x");
  EXPECT_EQ(file->metadata(), (std::map<std::string, std::string>{{"a", "1"}, {"b", "2"}}));
  std::string five(5, ' ');
  expect_error([&] { file->read("a", std::as_writable_bytes(std::span(five))); },
               ErrorCode::kInvalidArgument, "\"a\" has 4 bytes, room was given for 5");
  expect_error([&] { file->tensor("b"); }, ErrorCode::kInvalidFormat, "there is no tensor \"b\"");
}

TEST(TensorFiles, AnIndexOfNothingOrOfAnotherShardIsRefused) {
  const Folder folder("shards");
  expect_error([&] { TensorFiles::open(real_file_system(), folder.path()); }, ErrorCode::kNotFound,
               folder.path().string() + " holds neither");
  const std::string shard =
      file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x");
  folder.write("one", shard);
  const std::string both = file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                   R"("b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                   "xy");
  folder.write("two", both);
  const auto open = [&](const std::string& index) {
    folder.write("model.safetensors.index.json", index);
    return TensorFiles::open(real_file_system(), folder.path());
  };
  const TensorFiles files = open(R"({"weight_map":{"a":"one"}})");
  EXPECT_NE(files.find("a"), nullptr);
  EXPECT_EQ(files.find("b"), nullptr);
  expect_error([&] { open("{}"); }, ErrorCode::kInvalidFormat, "\"weight_map\" is missing");
  expect_error([&] { open(R"({"weight_map":{"a":"o\\ne"}})"); }, ErrorCode::kInvalidFormat,
               "tensor \"a\" must name a file of the same folder");
  expect_error([&] { open(R"({"weight_map":{"a":"one\u0000"}})"); }, ErrorCode::kInvalidFormat,
               "tensor \"a\" must name a file of the same folder");
  expect_error([&] { open(R"({"weight_map":{"a":"one","b":"two"}})"); }, ErrorCode::kInvalidFormat,
               "two: holds the tensor \"a\" that the index does not place there");
}

}  // namespace
}  // namespace msa::storage
