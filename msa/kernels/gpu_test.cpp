#include "msa/kernels/gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "msa/base/error.h"

namespace msa::kernels {
namespace {

std::string refusal_of(const std::filesystem::path& library) {
  try {
    Gpu::open(library);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kDevice);
    return error.what();
  }
  return "";
}

TEST(Gpu, ALibraryThatIsNotThereIsNamed) {
  EXPECT_THAT(
      refusal_of("/nowhere/libmsa_cuda.so"),
      testing::AllOf(testing::HasSubstr("no GPU"), testing::HasSubstr("/nowhere/libmsa_cuda.so")));
}

TEST(Gpu, AFileThatIsNoLibraryIsNamed) {
  const auto file =
      std::filesystem::temp_directory_path() / ("gpu_test." + std::to_string(::getpid()));
  std::ofstream(file) << "no library";
  EXPECT_THAT(refusal_of(file), testing::HasSubstr(file.string()));
  std::filesystem::remove(file);
}

TEST(Gpu, AnotherLibraryIsRefused) {
  EXPECT_THAT(refusal_of("libgomp.so.1"), testing::HasSubstr("has no msa_cuda_library"));
}

TEST(Gpu, TheLibraryIsLookedForBesideTheProgram) {
  EXPECT_EQ(Gpu::beside_the_program(),
            std::filesystem::canonical("/proc/self/exe").parent_path() / "libmsa_cuda.so");
}

}  // namespace
}  // namespace msa::kernels
