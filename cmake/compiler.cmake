# Language level, warnings, sanitizers and hardening for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON)
# Torch's folder holds a copy of the system's OpenMP library; the one found first serves both.
set(CMAKE_SKIP_BUILD_RPATH ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")

find_program(MSA_CCACHE ccache)
if(MSA_CCACHE)
  # What one checkout compiled serves another one, wherever it is.
  set(launcher env "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" CCACHE_NOHASHDIR=true "${MSA_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${launcher})
endif()

# Warnings are errors in our own code only: dependencies are SYSTEM includes.
add_library(msa_flags INTERFACE)
target_compile_options(msa_flags INTERFACE -Wall -Wextra -Werror -fstack-protector-strong
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)  # GCC 12 sees overlaps in std::string that are not there (PR 105329)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_definitions(msa_flags INTERFACE _FORTIFY_SOURCE=2)
endif()
target_link_options(msa_flags INTERFACE -Wl,-z,relro,-z,now)
if(MSA_SANITIZER)
  target_compile_options(msa_flags INTERFACE -fsanitize=${MSA_SANITIZER} -fno-omit-frame-pointer
                                             -fno-sanitize-recover=all)
  target_compile_definitions(msa_flags INTERFACE _GLIBCXX_ASSERTIONS)
  target_link_options(msa_flags INTERFACE -fsanitize=${MSA_SANITIZER})
endif()
if(MSA_BUILD_FUZZ)
  # What the mutation engine is led by; tests/fuzz links it.
  target_compile_options(msa_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
