#include "msa/storage/cipher.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace msa::storage {
namespace {

std::vector<std::byte> bytes_of(const std::string& hex) {
  std::vector<std::byte> bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

std::string hex_of(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(b));
    text += digits;
  }
  return text;
}

TEST(Cipher, DerivesTheKeysOfRfc5869) {
  // Test case 1, of whose 42 bytes these are the first.
  const std::string info = "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9";
  EXPECT_EQ(hex_of(derive_key(bytes_of("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"),
                              bytes_of("000102030405060708090a0b0c"), info)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
}

TEST(Cipher, DerivesAKeyWithoutASalt) {
  std::vector<std::byte> secret(32);
  for (size_t i = 0; i < secret.size(); ++i) secret[i] = static_cast<std::byte>(i);
  EXPECT_EQ(hex_of(derive_key(secret, {}, "check")),
            "5b65c4e86119ed29b47b7cd9745ac5aa64e441c10a0d9b2a0fa4ffaee96046cf");
}

TEST(Cipher, SealsAsTheGcmSpecificationDoes) {
  // "The Galois/Counter Mode of Operation (GCM)", McGrew and Viega, test case 16.
  CipherKey key{};
  const auto key_bytes =
      bytes_of("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
  std::copy(key_bytes.begin(), key_bytes.end(), key.begin());
  const auto nonce = bytes_of("cafebabefacedbaddecaf888");
  const auto context = bytes_of("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  const auto plain = bytes_of(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6"
      "b"
      "525b16aedf5aa0de657ba637b39");
  std::vector<std::byte> sealed(plain.size());
  std::array<std::byte, kTagBytes> tag{};
  const SealingKey sealing(key);
  const std::span<const std::byte, kNonceBytes> fixed(nonce.data(), kNonceBytes);
  sealing.seal(fixed, context, plain, sealed, tag);
  EXPECT_EQ(
      hex_of(sealed),
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b105"
      "6828838c5f61e6393ba7a0abcc9f662");
  EXPECT_EQ(hex_of(tag), "76fc6ece0f4e1768cddf8853bb2d551b");

  std::vector<std::byte> opened(plain.size());
  EXPECT_TRUE(sealing.open(fixed, context, sealed, opened, tag));
  EXPECT_EQ(opened, plain);
  const auto is_refused = [&](auto change) {
    auto other_nonce = nonce;
    auto other_context = context;
    auto other = sealed;
    auto other_tag = tag;
    CipherKey other_key = key;
    change(other_nonce, other_context, other, other_tag, other_key);
    return !SealingKey(other_key).open(
        std::span<const std::byte, kNonceBytes>(other_nonce.data(), kNonceBytes), other_context,
        other, opened, other_tag);
  };
  const auto flip = [](std::byte& b) { b ^= std::byte{1}; };
  EXPECT_TRUE(is_refused([&](auto& n, auto&, auto&, auto&, auto&) { flip(n[3]); }));
  EXPECT_TRUE(is_refused([&](auto&, auto& c, auto&, auto&, auto&) { flip(c[0]); }));
  EXPECT_TRUE(is_refused([&](auto&, auto&, auto& s, auto&, auto&) { flip(s[59]); }));
  EXPECT_TRUE(is_refused([&](auto&, auto&, auto&, auto& t, auto&) { flip(t[15]); }));
  EXPECT_TRUE(is_refused([&](auto&, auto&, auto&, auto&, auto& k) { flip(k[31]); }));
}

}  // namespace
}  // namespace msa::storage
