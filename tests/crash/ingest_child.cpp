// Commits small batches to a bank, and prints the last passage's id once a batch is acknowledged.
//
//   ingest_child BANK            without end
//   ingest_child BANK COMMITS    so many, each with a writer of its own, waiting for the lock

#include <unistd.h>

#include <cstdio>
#include <string>

#include "msa/base/error.h"
#include "msa/memory/bank_writer.h"
#include "tests/crash/batches.h"

namespace msa::memory {
namespace {

void commit_next(BankWriter& writer) {
  const RandomBatch batch = crash_batch(writer.next_passage_id());
  writer.commit(batch.documents, batch.encoded);
  std::printf("%lld\n", static_cast<long long>(writer.next_passage_id() - 1));
  std::fflush(stdout);
}

std::unique_ptr<BankWriter> open(const char* folder) {
  return BankWriter::open(real_file_system(), folder, crash_facts());
}

std::unique_ptr<BankWriter> open_when_free(const char* folder) {
  for (;;) {
    try {
      return open(folder);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kLocked) throw;
      usleep(500);
    }
  }
}

int run(int argc, char** argv) {
  if (argc == 2) {
    for (const auto writer = open(argv[1]);;) commit_next(*writer);
  }
  if (argc != 3) return 2;
  for (int left = std::stoi(argv[2]); left > 0; --left) commit_next(*open_when_free(argv[1]));
  return 0;
}

}  // namespace
}  // namespace msa::memory

int main(int argc, char** argv) {
  try {
    return msa::memory::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
