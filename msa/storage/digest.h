#pragma once
// XXH3-128: what says that stored bytes are the written ones. Not a defence against an attacker.

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace msa::storage {

using Digest = std::array<std::byte, 16>;

Digest digest_of(std::span<const std::byte> bytes);

/// 32 lower-case hexadecimal digits.
std::string to_hex(const Digest& digest);

/// A digest over several pieces, equal to that over their concatenation.
class Digester {
 public:
  Digester();
  ~Digester();
  Digester(Digester&&) noexcept;
  Digester& operator=(Digester&&) noexcept;

  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  Digest finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace msa::storage
