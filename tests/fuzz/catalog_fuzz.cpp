// Any bytes as the catalog of a bank: SQLite and our rows on it refuse them or read them.

#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch_bank.h"

namespace msa::fuzz {
namespace {

const ScratchBank& bank() {
  static const ScratchBank bank;
  return bank;
}

}  // namespace
}  // namespace msa::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace msa::fuzz;
  bank().remove_catalog();
  std::ofstream(bank().catalog(), std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  bank().read();
  return 0;
}
