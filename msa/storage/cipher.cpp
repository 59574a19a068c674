#include "msa/storage/cipher.h"

#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>

#include <algorithm>
#include <memory>

#include "msa/base/error.h"

namespace msa::storage {
namespace {

struct Free {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, Free>;

void expect(bool is_done, const char* what) {
  if (!is_done) throw Error(ErrorCode::kInternal, "OpenSSL: ", what, " failed");
}

const unsigned char* chars(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* chars(std::span<std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

/// Looked up once: each look-up takes a lock.
const EVP_CIPHER* aes_256_gcm() {
  static const EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  expect(cipher != nullptr, "looking up AES-256-GCM");
  return cipher;
}

}  // namespace

CipherKey derive_key(std::span<const std::byte> secret, std::span<const std::byte> salt,
                     std::string_view purpose) {
  const std::unique_ptr<EVP_PKEY_CTX, Free> context(EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, nullptr));
  CipherKey key{};
  size_t size = key.size();
  const auto info = std::as_bytes(std::span(purpose));
  expect(context && EVP_PKEY_derive_init(context.get()) > 0 &&
             EVP_PKEY_CTX_set_hkdf_md(context.get(), EVP_sha256()) > 0 &&
             (salt.empty() || EVP_PKEY_CTX_set1_hkdf_salt(context.get(), chars(salt),
                                                          static_cast<int>(salt.size())) > 0) &&
             EVP_PKEY_CTX_set1_hkdf_key(context.get(), chars(secret),
                                        static_cast<int>(secret.size())) > 0 &&
             EVP_PKEY_CTX_add1_hkdf_info(context.get(), chars(info),
                                         static_cast<int>(info.size())) > 0 &&
             EVP_PKEY_derive(context.get(), chars(std::span<std::byte>(key)), &size) > 0 &&
             size == key.size(),
         "HKDF");
  return key;
}

void draw_random(std::span<std::byte> out) {
  expect(RAND_bytes(chars(out), static_cast<int>(out.size())) == 1, "drawing random bytes");
}

void SealingKey::seal(std::span<const std::byte, kNonceBytes> nonce,
                      std::span<const std::byte> context, std::span<const std::byte> plain,
                      std::span<std::byte> to, std::span<std::byte, kTagBytes> tag) const {
  const Context cipher(EVP_CIPHER_CTX_new());
  int count = 0;
  expect(cipher &&
             EVP_EncryptInit_ex2(cipher.get(), aes_256_gcm(), chars(std::span(key_)), chars(nonce),
                                 nullptr) == 1 &&
             EVP_EncryptUpdate(cipher.get(), nullptr, &count, chars(context),
                               static_cast<int>(context.size())) == 1 &&
             EVP_EncryptUpdate(cipher.get(), chars(to), &count, chars(plain),
                               static_cast<int>(plain.size())) == 1 &&
             EVP_EncryptFinal_ex(cipher.get(), chars(to) + count, &count) == 1 &&
             EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag.data()) == 1,
         "encryption");
}

bool SealingKey::open(std::span<const std::byte, kNonceBytes> nonce,
                      std::span<const std::byte> context, std::span<const std::byte> sealed,
                      std::span<std::byte> to, std::span<const std::byte, kTagBytes> tag) const {
  const Context cipher(EVP_CIPHER_CTX_new());
  int count = 0;
  std::array<std::byte, kTagBytes> wanted{};
  std::ranges::copy(tag, wanted.begin());
  expect(
      cipher &&
          EVP_DecryptInit_ex2(cipher.get(), aes_256_gcm(), chars(std::span(key_)), chars(nonce),
                              nullptr) == 1 &&
          EVP_DecryptUpdate(cipher.get(), nullptr, &count, chars(context),
                            static_cast<int>(context.size())) == 1 &&
          EVP_DecryptUpdate(cipher.get(), chars(to), &count, chars(sealed),
                            static_cast<int>(sealed.size())) == 1 &&
          EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, wanted.data()) == 1,
      "decryption");
  return EVP_DecryptFinal_ex(cipher.get(), chars(to) + count, &count) == 1;
}

}  // namespace msa::storage
