// backup_child BANK TARGET: backs a bank up.

#include <cstdio>
#include <exception>

#include "msa/memory/copy_bank.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    msa::memory::back_up_bank(msa::real_file_system(), argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
