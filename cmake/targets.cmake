# msa_library(<folder> [DEPENDS <target>...]): one CMake target per folder of msa/.
#   *.cpp          -> library msa_<folder>
#   *_test.cpp     -> program <folder>_test, run by CTest (*_cuda_test.cpp: see msa/kernels)
#   Each header compiles on its own: the source beside it includes it first (scripts/check_layers.py sees to that), and headers without
#   one form a set that CMake verifies.
function(msa_library folder)
  cmake_parse_arguments(arg "" "" "DEPENDS;TEST_DEPENDS" ${ARGN})
  set(target msa_${folder})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp)
  file(GLOB headers CONFIGURE_DEPENDS *.h)
  file(GLOB tests CONFIGURE_DEPENDS *_test.cpp)
  if(tests)
    list(REMOVE_ITEM sources ${tests})
    list(FILTER tests EXCLUDE REGEX "_cuda_test\\.cpp$")
  endif()
  add_library(${target} STATIC ${sources})
  set(alone ${headers})
  foreach(source ${sources})
    string(REGEX REPLACE "\\.cpp$" ".h" header "${source}")
    list(REMOVE_ITEM alone "${header}")
  endforeach()
  list(REMOVE_ITEM headers ${alone})
  target_sources(${target} PUBLIC
    FILE_SET HEADERS BASE_DIRS "${CMAKE_SOURCE_DIR}" FILES ${headers}
    FILE_SET alone TYPE HEADERS BASE_DIRS "${CMAKE_SOURCE_DIR}" FILES ${alone})
  set_target_properties(${target} PROPERTIES INTERFACE_HEADER_SETS_TO_VERIFY alone)
  target_link_libraries(${target} PUBLIC ${arg_DEPENDS} PRIVATE $<BUILD_INTERFACE:msa_flags>)
  if(tests AND MSA_BUILD_TESTS)
    msa_test(${folder}_test ${tests} DEPENDS ${target} ${arg_TEST_DEPENDS})
  endif()
endfunction()

# msa_torch_free_part(<folder> <stems>... [DEPENDS <target>...]): the library msa_<folder>_part of some sources of a folder whose others
# need torch, and the program <folder>_part_test of the tests beside them.
function(msa_torch_free_part folder)
  cmake_parse_arguments(arg "" "" "DEPENDS" ${ARGN})
  set(sources ${arg_UNPARSED_ARGUMENTS})
  list(TRANSFORM sources REPLACE ".+" "${CMAKE_SOURCE_DIR}/msa/${folder}/\\0.cpp")
  set(tests ${sources})
  list(TRANSFORM tests REPLACE "\\.cpp$" "_test.cpp")
  foreach(test ${tests})
    if(NOT EXISTS "${test}")
      list(REMOVE_ITEM tests "${test}")
    endif()
  endforeach()
  add_library(msa_${folder}_part STATIC ${sources})
  target_include_directories(msa_${folder}_part PUBLIC "${CMAKE_SOURCE_DIR}")
  target_link_libraries(msa_${folder}_part PUBLIC ${arg_DEPENDS} PRIVATE msa_flags)
  target_compile_options(msa_${folder}_part PRIVATE $<$<CXX_COMPILER_ID:Clang>:-Wno-pass-failed>)  # as in msa/kernels
  msa_test(${folder}_part_test ${tests} DEPENDS msa_${folder}_part)
endfunction()

# msa_program(<name> <sources>... [DEPENDS <target>...])
function(msa_program name)
  cmake_parse_arguments(arg "" "" "DEPENDS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${arg_DEPENDS} msa_flags)
endfunction()

# Where the checkout and the build lie, for tests (msa/base/test_paths.h): in one object, all others are the same in every checkout.
add_library(msa_test_paths STATIC EXCLUDE_FROM_ALL "${CMAKE_SOURCE_DIR}/tests/support/test_paths.cpp")
target_include_directories(msa_test_paths PRIVATE "${CMAKE_SOURCE_DIR}")
target_compile_definitions(msa_test_paths PRIVATE MSA_SOURCE_DIR="${CMAKE_SOURCE_DIR}" MSA_BINARY_DIR="${CMAKE_BINARY_DIR}")
target_link_libraries(msa_test_paths PRIVATE msa_flags)

# msa_test(<name> <sources>... [DEPENDS <target>...] [LABELS <label>...] [TIMEOUT s]): a GoogleTest program.
function(msa_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "DEPENDS;LABELS" ${ARGN})
  msa_program(${name} ${arg_UNPARSED_ARGUMENTS} DEPENDS ${arg_DEPENDS} msa_test_paths GTest::gtest_main GTest::gmock rapidcheck)
  add_test(NAME ${name} COMMAND ${name})
  # Most compute with all threads: alone, since OpenMP's threads wait for each other.
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" ENVIRONMENT "${MSA_TEST_ENVIRONMENT}" RUN_SERIAL ON)
  if(arg_TIMEOUT)
    set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT})
  else()
    set_tests_properties(${name} PROPERTIES TIMEOUT 1500)
  endif()
endfunction()
