#include "tests/crash/bank_check.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "msa/memory/bank_writer.h"
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

std::string verify(const std::filesystem::path& bank) {
  std::string text;
  for (const memory::BankProblem& problem : memory::verify_bank(real_file_system(), bank)) {
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
    const auto writer = BankWriter::open(real_file_system(), bank, facts);
    auto batch = make_random_batch(facts.shape,
                                   {.first_id = writer->next_passage_id(), .seed = 4'000'000'000});
    add_batch(wanted, batch, facts.shape.key_dim());
    writer->commit(std::move(batch.documents), batch.encoded);
  }
  if (!is_thorough) return "";
  const std::string problems = verify(bank);
  if (!problems.empty()) return "after a new commit" + problems;
  const BankContents now = contents_of(*Bank::open(real_file_system(), bank));
  return now == wanted ? "" : "after a new commit:" + difference(now, wanted);
}

}  // namespace

BankVerdict check_bank(const std::filesystem::path& bank,
                       const std::vector<BankContents>& acceptable, bool is_thorough) {
  BankVerdict verdict;
  try {
    if (std::filesystem::exists(bank / memory::Catalog::kFile)) {
      verdict.problem = verify(bank);
      if (!verdict.problem.empty()) return verdict;
      verdict.held = contents_of(*Bank::open(real_file_system(), bank));
    }
    if (std::find(acceptable.begin(), acceptable.end(), verdict.held) == acceptable.end()) {
      verdict.problem = "holds something else:" + difference(verdict.held, acceptable.back());
      return verdict;
    }
    verdict.problem = commit_one(bank, verdict.held, is_thorough);
  } catch (const std::exception& error) {
    verdict.problem = error.what();
  }
  return verdict;
}

}  // namespace msa::crash
