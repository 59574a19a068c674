#include "tests/crash/bank_check.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "msa/memory/bank_writer.h"
#include "msa/memory/copy_bank.h"
#include "msa/storage/encrypted_files.h"
#include "tests/crash/changes.h"

namespace msa::crash {
namespace {

using memory::Bank;
using memory::BankWriter;

/// What is missing of the wanted documents, or too much.
std::string difference(const BankContents& held, const BankContents& wanted) {
  std::string text;
  if (held.is_there != wanted.is_there) text += held.is_there ? " is there" : " is not there";
  for (const auto& [name, digest] : wanted.documents) {
    const auto found = held.documents.find(name);
    if (found == held.documents.end()) text += " lacks " + name;
    if (found != held.documents.end() && found->second != digest) text += " changed " + name;
  }
  for (const auto& [name, digest] : held.documents) {
    if (!wanted.documents.contains(name)) text += " has " + name;
  }
  return text;
}

BankContents read(const std::filesystem::path& bank) {
  const auto files = files_of(bank);
  return contents_of(*Bank::open(*files, bank));
}

std::string verify(const std::filesystem::path& bank) {
  std::string text;
  const auto files = files_of(bank);
  for (const memory::BankProblem& problem : memory::verify_bank(*files, bank)) {
    text += "; " + problem.file + ": " + problem.what;
  }
  return text;
}

std::string commit_one(const std::filesystem::path& bank, const BankContents& held,
                       bool is_thorough) {
  const memory::BankFacts facts = memory::crash_facts();
  BankContents wanted = held;
  wanted.is_there = true;
  {
    const auto files = files_of(bank);
    const auto writer = BankWriter::open(*files, bank, facts);
    auto batch = make_random_batch(facts.shape,
                                   {.first_id = writer->next_passage_id(), .seed = 4'000'000'000});
    add_batch(wanted, batch, facts.shape.key_dim());
    writer->commit(std::move(batch.documents), batch.encoded);
  }
  if (!is_thorough) return "";
  const std::string problems = verify(bank);
  if (!problems.empty()) return "after a new commit" + problems;
  const BankContents now = read(bank);
  return now == wanted ? "" : "after a new commit:" + difference(now, wanted);
}

/// Reads a bank or a copy, and looks for it among `acceptable`.
BankVerdict read_bank(const std::filesystem::path& bank,
                      const std::vector<BankContents>& acceptable) {
  BankVerdict verdict;
  if (std::filesystem::exists(bank / memory::Catalog::kFile)) {
    verdict.problem = verify(bank);
    if (!verdict.problem.empty()) return verdict;
    verdict.held = read(bank);
  }
  if (std::find(acceptable.begin(), acceptable.end(), verdict.held) == acceptable.end()) {
    verdict.problem = "holds something else:" + difference(verdict.held, acceptable.back());
  }
  return verdict;
}

/// Empty if the bank can be backed up to where it was, or may have been.
std::string back_up_again(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / kBankName / memory::Catalog::kFile)) return "";
  memory::back_up_bank(*files_of(folder / kBankName), folder / kBankName, folder / kBackupName);
  const auto contents = [&](const char* name) { return read(folder / name); };
  std::string problem = verify(folder / kBackupName);
  if (!problem.empty()) return problem;
  return contents(kBackupName) == contents(kBankName) ? "" : "the next backup is another bank";
}

}  // namespace

std::shared_ptr<FileSystem> files_of(const std::filesystem::path& folder) {
  using storage::EncryptedFiles;
  if (std::filesystem::exists(folder)) {
    for (const std::string& name : real_file_system().list(folder)) {
      if (!name.starts_with(EncryptedFiles::kFile)) continue;  // or what was to become it
      return EncryptedFiles::create(real_file_system(), folder, memory::crash_secret());
    }
  }
  return {&real_file_system(), [](FileSystem*) {}};
}

std::string check_copy(const std::filesystem::path& copy,
                       const std::vector<BankContents>& acceptable) {
  return read_bank(copy, acceptable).problem;
}

DiskVerdict check_disk(const std::filesystem::path& folder, const BankRecording::Span& span,
                       bool is_thorough) {
  DiskVerdict verdict;
  try {
    for (const auto& [name, acceptable] : span.copies) {
      const BankVerdict copy = read_bank(folder / name, acceptable);
      verdict.held.copies[name] = copy.held;
      verdict.problem = copy.problem;
      if (verdict.problem.empty()) continue;
      verdict.problem = name + ": " + verdict.problem;
      return verdict;
    }
  } catch (const std::exception& error) {
    verdict.problem = error.what();
    return verdict;
  }
  const BankVerdict bank = check_bank(folder / kBankName, span.acceptable, is_thorough);
  verdict.held.bank = bank.held;
  verdict.problem = bank.problem;
  if (!verdict.problem.empty() || !is_thorough || span.copies.empty()) return verdict;
  try {
    verdict.problem = back_up_again(folder);
  } catch (const std::exception& error) {
    verdict.problem = error.what();
  }
  return verdict;
}

BankVerdict check_bank(const std::filesystem::path& bank,
                       const std::vector<BankContents>& acceptable, bool is_thorough) {
  BankVerdict verdict;
  try {
    verdict = read_bank(bank, acceptable);
    if (verdict.problem.empty()) verdict.problem = commit_one(bank, verdict.held, is_thorough);
  } catch (const std::exception& error) {
    verdict.problem = error.what();
  }
  return verdict;
}

}  // namespace msa::crash
