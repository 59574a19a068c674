#include "msa/base/test_paths.h"

namespace msa {

std::filesystem::path source_folder() { return MSA_SOURCE_DIR; }

std::filesystem::path build_folder() { return MSA_BINARY_DIR; }

}  // namespace msa
