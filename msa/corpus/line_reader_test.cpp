#include "msa/corpus/line_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "msa/base/error.h"

namespace msa::corpus {
namespace {

class LineReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        std::filesystem::temp_directory_path() / ("line_reader_test." + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    return folder_ / name;
  }

  static std::string compressed(const std::string& bytes, int window_log = 0) {
    ZSTD_CCtx* context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    if (window_log > 0) {
      ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
      ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
    }
    std::string out(ZSTD_compressBound(bytes.size()) + 64, '\0');
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    ZSTD_outBuffer buffer{out.data(), out.size(), 0};
    // Without the size of the whole being known in advance, the window stays as wide as asked.
    ZSTD_inBuffer none{bytes.data(), 0, 0};
    EXPECT_FALSE(ZSTD_isError(ZSTD_compressStream2(context, &buffer, &none, ZSTD_e_flush)));
    EXPECT_EQ(ZSTD_compressStream2(context, &buffer, &in, ZSTD_e_end), 0U);
    ZSTD_freeCCtx(context);
    out.resize(buffer.pos);
    return out;
  }

  static std::vector<std::string> lines_of(LineReader& reader) {
    std::vector<std::string> lines;
    for (std::string line; reader.next(line);) {
      lines.push_back(line);
      EXPECT_EQ(reader.line_number(), static_cast<int64_t>(lines.size()));
    }
    return lines;
  }

  std::vector<std::string> lines_of(const std::filesystem::path& path) const {
    LineReader reader(real_file_system(), path);
    return lines_of(reader);
  }

  template <typename Call>
  static void expect_error(ErrorCode code, const Call& call) {
    try {
      call();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
    }
  }

  std::filesystem::path folder_;
};

using Lines = std::vector<std::string>;

TEST_F(LineReaderTest, GivesEveryLineWithoutItsEnd) {
  EXPECT_EQ(lines_of(write("a", "one\ntwo\r\n\nfour")), (Lines{"one", "two", "", "four"}));
  EXPECT_EQ(lines_of(write("b", "one\n")), Lines{"one"});
  EXPECT_EQ(lines_of(write("c", "\n\n")), (Lines{"", ""}));
  EXPECT_EQ(lines_of(write("d", "")), Lines{});
  EXPECT_EQ(lines_of(write("e", "a\rb\n")), Lines{"a\rb"});
}

TEST_F(LineReaderTest, GivesTheSameLinesOfPlainAndCompressedRandomFiles) {
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    Lines lines(random() % 300);
    std::string text;
    for (std::string& line : lines) {
      // Some lines are longer than what is read or decoded at once.
      const size_t length = random() % 40 == 0 ? random() % 700'000 : random() % 3000;
      for (size_t i = 0; i < length; ++i) line += static_cast<char>('a' + random() % 20);
      text += line + "\n";
    }
    EXPECT_EQ(lines_of(write("plain", text)), lines);
    EXPECT_EQ(lines_of(write("whole.zst", compressed(text))), lines);
    const size_t cut = text.empty() ? 0 : random() % text.size();  // two frames, one file
    EXPECT_EQ(
        lines_of(write("two.zst", compressed(text.substr(0, cut)) + compressed(text.substr(cut)))),
        lines);
    LineReader reader(real_file_system(), folder_ / "two.zst");
    std::string line;
    const bool has_line = reader.next(line);
    EXPECT_EQ(reader.rest(), has_line ? text.substr(line.size() + 1) : "");
    EXPECT_FALSE(reader.next(line));
    EXPECT_EQ(reader.bytes_read(), std::filesystem::file_size(folder_ / "two.zst"));
  }
}

TEST_F(LineReaderTest, SkipsALineThatIsTooLongAndGoesOn) {
  for (const size_t long_bytes : {101U, 102U, 5000U, 600'000U}) {
    const std::string text = "a\r\n" + std::string(100, 'b') + "\n" + std::string(100, 'c') +
                             "\r\n" + std::string(long_bytes, 'd') + "\nlast";
    for (const auto& path : {write("long", text), write("long.zst", compressed(text))}) {
      SCOPED_TRACE(path.string() + " with " + std::to_string(long_bytes) + " bytes");
      LineReader reader(real_file_system(), path, {.max_line_bytes = 100});
      std::string line;
      for (const size_t wanted : {1U, 100U, 100U}) {
        ASSERT_TRUE(reader.next(line));
        EXPECT_EQ(line.size(), wanted);
      }
      expect_error(ErrorCode::kLimit, [&] { reader.next(line); });
      EXPECT_EQ(reader.line_number(), 4);
      ASSERT_TRUE(reader.next(line));
      EXPECT_EQ(line, "last");
      EXPECT_EQ(reader.line_number(), 5);
      EXPECT_FALSE(reader.next(line));
    }
  }
}

TEST_F(LineReaderTest, RefusesALongLastLineWithoutAnEnd) {
  LineReader reader(real_file_system(), write("a", "a\n" + std::string(101, 'b')),
                    {.max_line_bytes = 100});
  std::string line;
  ASSERT_TRUE(reader.next(line));
  expect_error(ErrorCode::kLimit, [&] { reader.next(line); });
  EXPECT_FALSE(reader.next(line));
}

TEST_F(LineReaderTest, NamesALongLastLineAlsoWhereItsEndWasReadWithIt) {
  LineReader reader(real_file_system(), write("a", "one\n" + std::string(100, 'x')),
                    {.max_line_bytes = 10});
  std::string line;
  ASSERT_TRUE(reader.next(line));
  try {
    reader.next(line);
    ADD_FAILURE() << line;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLimit);
    EXPECT_EQ(error.what(), (folder_ / "a").string() + " line 2: longer than 10 bytes");
  }
  EXPECT_FALSE(reader.next(line));
}

TEST_F(LineReaderTest, StopsWhereAFileGrowsTooMuch) {
  const auto path = write("bomb.zst", compressed(std::string(size_t{4} << 20, '\n')));
  const LineReaderOptions options{.max_growth = 100, .free_growth_bytes = 1 << 20};
  LineReader reader(real_file_system(), path, options);
  std::string line;
  int64_t num_lines = 0;
  try {
    while (reader.next(line)) ++num_lines;
    ADD_FAILURE() << num_lines;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLimit);
    EXPECT_EQ(error.what(),
              path.string() + ": holds more than 100 bytes of text for a byte of the file");
  }
  EXPECT_FALSE(reader.next(line));
  LineReader growing(real_file_system(), path,
                     {.max_growth = 1 << 20, .free_growth_bytes = 1 << 20});
  for (num_lines = 0; growing.next(line);) ++num_lines;
  EXPECT_EQ(num_lines, int64_t{4} << 20);
}

TEST_F(LineReaderTest, StopsWhereASmallFileHoldsTooMuch) {
  const std::string bomb = compressed(std::string(size_t{64} << 20, '\n'));
  ASSERT_LT(bomb.size(), 20'000U);
  LineReader reader(real_file_system(), write("bomb.zst", bomb), {.max_total_bytes = 1 << 20});
  int64_t num_lines = 0;
  std::string line;
  expect_error(ErrorCode::kLimit, [&] {
    while (reader.next(line)) ++num_lines;
  });
  EXPECT_LE(num_lines, 1 << 20);
  EXPECT_FALSE(reader.next(line));
  LineReader whole(real_file_system(), folder_ / "bomb.zst", {.max_line_bytes = 1000});
  expect_error(ErrorCode::kLimit, [&] { whole.rest(); });
  EXPECT_FALSE(whole.next(line));
}

TEST_F(LineReaderTest, RefusesAWindowWiderThan128Mebibytes) {
  const std::string text = "one\ntwo\n";
  EXPECT_EQ(lines_of(write("narrow.zst", compressed(text, 27))), (Lines{"one", "two"}));
  expect_error(ErrorCode::kInvalidFormat,
               [&] { lines_of(write("wide.zst", compressed(text, 28))); });
}

TEST_F(LineReaderTest, NoticesEveryTruncationOfACompressedFile) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "line " + std::to_string(i * i) + "\n";
  const std::string bytes = compressed(text);
  for (size_t length = 0; length < bytes.size(); ++length) {
    SCOPED_TRACE("length " + std::to_string(length));
    LineReader reader(real_file_system(), write("cut.zst", bytes.substr(0, length)));
    expect_error(ErrorCode::kInvalidFormat, [&] { lines_of(reader); });
    std::string line;
    EXPECT_FALSE(reader.next(line));
  }
}

TEST_F(LineReaderTest, NeverGivesOtherTextForAFlippedBit) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "line " + std::to_string(i * i) + "\n";
  const std::string bytes = compressed(text);
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    SCOPED_TRACE("bit " + std::to_string(bit));
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    LineReader reader(real_file_system(), write("bad.zst", damaged));
    try {
      EXPECT_EQ(reader.rest(), text);  // bits that the format does not use
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidFormat) << error.what();
    }
  }
}

TEST_F(LineReaderTest, RefusesBytesBehindTheLastFrame) {
  expect_error(ErrorCode::kInvalidFormat,
               [&] { lines_of(write("more.zst", compressed("one\n") + "more")); });
}

TEST_F(LineReaderTest, NamesAFileThatDoesNotExist) {
  expect_error(ErrorCode::kNotFound,
               [&] { LineReader reader(real_file_system(), folder_ / "none"); });
}

}  // namespace
}  // namespace msa::corpus
