#pragma once
// Where the checkout and the build lie, for tests. Compiled in one place: all else is the same in
// every checkout, so that ccache finds it.

#include <filesystem>

namespace msa {

std::filesystem::path source_folder();  // the checkout
std::filesystem::path build_folder();   // with the programs of the tests

}  // namespace msa
