#pragma once
// A file of authenticated, encrypted units: written once from its beginning, read anywhere.

#include <memory>

#include "msa/base/file_system.h"
#include "msa/storage/cipher.h"

namespace msa::storage {

inline constexpr uint64_t kSealedUnitBytes = 16 << 10;  // of plain bytes; the last may be short

/// Seals what is appended into `file`, which is empty. A unit is written once it is full, the last
/// one by sync(), after which appending throws Error(kInternal). Cannot be read.
std::unique_ptr<File> seal_file(std::unique_ptr<File> file, const CipherKey& key);

/// Throws Error(kCorruption) with path and offset, here or when it is read, for what was not sealed
/// under this key, in this place of this file.
std::unique_ptr<File> unseal_file(std::unique_ptr<File> file, const CipherKey& key);

}  // namespace msa::storage
