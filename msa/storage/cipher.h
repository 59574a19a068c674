#pragma once
// AES-256-GCM and HKDF-SHA256, of OpenSSL: what encrypted banks are made of.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace msa::storage {

using CipherKey = std::array<std::byte, 32>;

inline constexpr size_t kNonceBytes = 12;
inline constexpr size_t kTagBytes = 16;

/// HKDF-SHA256 (RFC 5869). `purpose` keeps keys for different uses apart.
CipherKey derive_key(std::span<const std::byte> secret, std::span<const std::byte> salt,
                     std::string_view purpose);

/// From the system's generator. Throws Error(kInternal) if it gives none.
void draw_random(std::span<std::byte> out);

/// Encrypts and authenticates pieces under one key. No two pieces may be sealed with one nonce. All
/// calls may run at once.
class SealingKey {
 public:
  explicit SealingKey(const CipherKey& key) : key_(key) {}

  /// `to` has the size of `plain` and may be the same memory. `context` is not stored: opening
  /// needs the same.
  void seal(std::span<const std::byte, kNonceBytes> nonce, std::span<const std::byte> context,
            std::span<const std::byte> plain, std::span<std::byte> to,
            std::span<std::byte, kTagBytes> tag) const;

  /// False if it is not what was sealed; `to` then holds nothing of use.
  bool open(std::span<const std::byte, kNonceBytes> nonce, std::span<const std::byte> context,
            std::span<const std::byte> sealed, std::span<std::byte> to,
            std::span<const std::byte, kTagBytes> tag) const;

 private:
  CipherKey key_;
};

}  // namespace msa::storage
