# Every library from outside, found in one place. docs/architecture.md says what each is for.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(PkgConfig REQUIRED)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(sqlite3 REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
# The archive: it is small, and a program that needs no library more starts on more machines.
find_path(MSA_URING_INCLUDE liburing.h REQUIRED)
find_library(MSA_URING_LIBRARY NAMES liburing.a uring REQUIRED)
add_library(uring UNKNOWN IMPORTED)
set_target_properties(uring PROPERTIES IMPORTED_LOCATION "${MSA_URING_LIBRARY}"
                                       INTERFACE_INCLUDE_DIRECTORIES "${MSA_URING_INCLUDE}")
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(CLI11 REQUIRED)
pkg_check_modules(tomlplusplus REQUIRED IMPORTED_TARGET tomlplusplus)
if(MSA_BUILD_TESTS)
  find_package(GTest REQUIRED)
  find_path(MSA_RAPIDCHECK_INCLUDE rapidcheck.h REQUIRED)
  find_library(MSA_RAPIDCHECK_LIBRARY rapidcheck REQUIRED)
  add_library(rapidcheck UNKNOWN IMPORTED)
  set_target_properties(rapidcheck PROPERTIES IMPORTED_LOCATION "${MSA_RAPIDCHECK_LIBRARY}"
                                              INTERFACE_INCLUDE_DIRECTORIES "${MSA_RAPIDCHECK_INCLUDE}")
endif()
if(MSA_BUILD_TESTS AND MSA_SANITIZER MATCHES thread)
  # GCC's OpenMP library is not instrumented, so that every parallel loop looks like a race. LLVM's speaks the same ABI and
  # its tool Archer tells the sanitizer who waits for whom; tests run with both.
  find_library(MSA_ARCHER archer REQUIRED PATHS /usr/lib/llvm-14/lib)
  get_filename_component(llvm_libraries "${MSA_ARCHER}" DIRECTORY)
  set(MSA_TEST_ENVIRONMENT "LD_PRELOAD=${llvm_libraries}/libomp.so.5" "OMP_TOOL_LIBRARIES=${MSA_ARCHER}"
                           "TSAN_OPTIONS=ignore_noninstrumented_modules=1")
endif()
if(MSA_BUILD_BENCH)
  find_package(benchmark REQUIRED)
endif()

# Toolkit 13 knows no compute capability below 7.5; CMake before 3.31 knows no C++20 of it, so kernels are C++17.
if(MSA_WITH_CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 90-virtual)
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
endif()

# The CPU half of an unpacked torch wheel. Its own CUDA libraries are neither linked nor loaded.
if(MSA_WITH_TORCH)
  if(NOT MSA_TORCH_DIR)
    set(MSA_TORCH_DIR "$ENV{HOME}/.cache/msa/torch-2.11.0")
  endif()
  if(NOT EXISTS "${MSA_TORCH_DIR}/lib/libtorch_cpu.so")
    message(FATAL_ERROR "no torch wheel at MSA_TORCH_DIR=${MSA_TORCH_DIR}: run scripts/setup.sh")
  endif()
  add_library(msa_torch INTERFACE)
  target_include_directories(msa_torch SYSTEM INTERFACE
    "${MSA_TORCH_DIR}/include" "${MSA_TORCH_DIR}/include/torch/csrc/api/include")
  # Headers bring the operators that they use, not all two thousand: half the time to compile.
  target_compile_definitions(msa_torch INTERFACE AT_PER_OPERATOR_HEADERS)
  target_link_libraries(msa_torch INTERFACE "${MSA_TORCH_DIR}/lib/libtorch_cpu.so" "${MSA_TORCH_DIR}/lib/libc10.so")
  target_link_options(msa_torch INTERFACE -Wl,--allow-shlib-undefined "-Wl,-rpath,${MSA_TORCH_DIR}/lib")
endif()
