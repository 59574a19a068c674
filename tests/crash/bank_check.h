#pragma once
// Whether a bank is good after the power was lost.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/crash/bank_contents.h"
#include "tests/crash/bank_script.h"

namespace msa::crash {

struct BankVerdict {
  std::string problem{};  // empty: none
  BankContents held{};    // before the new writer
};

struct DiskVerdict {
  std::string problem{};
  DiskContents held{};
};

/// What the folder of a bank is read through: with crash_secret() if it is encrypted.
std::shared_ptr<FileSystem> files_of(const std::filesystem::path& folder);

/// Opens the bank: verification finds nothing, it holds exactly one of `acceptable`, and a new
/// writer opens it and commits a document. Where `is_thorough`, all is verified and read once more
/// then, that document with it. Changes the bank.
BankVerdict check_bank(const std::filesystem::path& bank,
                       const std::vector<BankContents>& acceptable, bool is_thorough);

/// Empty if a copy of a bank is whole, or no bank, and holds exactly one of `acceptable`.
std::string check_copy(const std::filesystem::path& copy,
                       const std::vector<BankContents>& acceptable);

/// check_bank of the bank in `folder`; its copies are whole, or no banks, and hold exactly one of
/// what they may. Where `is_thorough`, the bank with its new document is then backed up to the same
/// place.
DiskVerdict check_disk(const std::filesystem::path& folder, const BankRecording::Span& span,
                       bool is_thorough);

}  // namespace msa::crash
