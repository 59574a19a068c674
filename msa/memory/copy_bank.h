#pragma once
// Backups of a bank and banks from backups: one is a copy of the other. docs/format/bank.md says
// what a backup is.

#include <cstdint>
#include <filesystem>

#include "msa/base/file_system.h"

namespace msa::memory {

struct BankCopy {
  int64_t documents = 0;  // of the state that the copy holds
  int64_t segments = 0;
  int64_t bytes = 0;            // of its segments and its catalog
  int64_t copied_segments = 0;  // the others were there already
  int64_t copied_bytes = 0;     // the catalog is written anew each time
  int64_t removed_files = 0;    // of segments that the copy no longer has
};

/// Makes `target` a copy of one state of the bank, the last that was committed, while a writer and
/// readers go on; the folder above it must exist. The copy is a bank: it can be read and verified,
/// and is restored by copying it back. Every byte is checked on the way. Segments of an earlier
/// backup in `target` that have the right size and digest table are kept as they are, the others
/// replaced; once they are durable the catalog takes the place of the old one, in one step:
/// whenever the process or the power goes, `target` is as it was before or as after it, or no bank
/// yet. What such a copy left is used or removed by the next one. Readers of `target` keep what
/// they read.
///
/// Throws Error(kNotFound) if there is no bank; Error(kInvalidArgument) if one folder is in the
/// other; Error(kInvalidFormat) if `target` is neither empty nor a backup, which a backup ceases to
/// be when a writer opens it; Error(kLocked) while another process makes a backup in it;
/// Error(kMismatch) if it is a backup of another bank, or of a later state; Error(kNoSpace) before
/// anything is copied, saying what is needed; Error(kCorruption) naming file, place and documents
/// if the bank is damaged: the backup of before then stays.
BankCopy back_up_bank(FileSystem& files, const std::filesystem::path& bank,
                      const std::filesystem::path& target);

/// The same from a backup into a folder that is not there, is empty, or has what a restoration that
/// was interrupted left: a bank of its own. Throws Error(kInvalidArgument) if a bank is there.
BankCopy restore_bank(FileSystem& files, const std::filesystem::path& backup,
                      const std::filesystem::path& bank);

}  // namespace msa::memory
