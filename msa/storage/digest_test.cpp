#include "msa/storage/digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace msa::storage {
namespace {

TEST(Digest, IsXxh3With128BitsInCanonicalOrder) {
  // The published value of XXH3-128 for no input at all.
  EXPECT_EQ(to_hex(digest_of({})), "99aa06d3014798d86001c324468d497f");
}

TEST(Digest, OfPiecesIsThatOfTheWhole) {
  const uint32_t seed = 1;
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    std::string bytes(random() % 5000, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    Digester digester;
    for (size_t done = 0; done < bytes.size();) {
      const size_t count = std::min<size_t>(bytes.size() - done, random() % 700);
      digester.add(std::string_view(bytes).substr(done, count));
      done += count;
    }
    EXPECT_EQ(digester.finish(), digest_of(std::as_bytes(std::span(bytes))))
        << "round " << round << " seed " << seed;
  }
}

TEST(Digest, ChangesWithEveryBit) {
  std::string bytes(300, 'a');
  const Digest before = digest_of(std::as_bytes(std::span(bytes)));
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    EXPECT_NE(digest_of(std::as_bytes(std::span(bytes))), before) << "bit " << bit;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  }
}

}  // namespace
}  // namespace msa::storage
