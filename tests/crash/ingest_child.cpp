// Changes a bank at random and prints what it does (changes.h).
//
//   ingest_child BANK SEED PREFIX            without end
//   ingest_child BANK SEED PREFIX CHANGES    so many, each with a writer of its own, waiting for
//                                            the lock

#include <unistd.h>

#include <cstdio>
#include <random>
#include <string>

#include "msa/base/error.h"
#include "msa/memory/bank_writer.h"
#include "tests/crash/changes.h"

namespace msa::memory {
namespace {

void say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

std::unique_ptr<BankWriter> open(const char* folder) {
  static const auto files = crash_files(folder);
  return BankWriter::open(*files, folder, crash_facts(), crash_policy());
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

void change(BankWriter& writer, std::mt19937& random, const std::string& prefix) {
  const Change next = random_change(random, prefix, writer.next_passage_id());
  say("begin " + next.to_line());
  make(next, writer);
  say("done");
}

int run(int argc, char** argv) {
  if (argc != 4 && argc != 5) return 2;
  std::mt19937 random(static_cast<uint32_t>(std::stoul(argv[2])));
  if (argc == 4) {
    for (const auto writer = open(argv[1]);;) change(*writer, random, argv[3]);
  }
  for (int left = std::stoi(argv[4]); left > 0; --left) {
    change(*open_when_free(argv[1]), random, argv[3]);
  }
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
