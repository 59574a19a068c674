#!/usr/bin/env bash
# Everything that must hold: format, layers, all tests, the torch-free part again under sanitizers, fuzzers, kernels that compile.
#
# Where nothing has been compiled before (ccache, tidy.sh) on a slow machine, that takes over an hour: parts that would begin later than
# MSA_TEST_MINUTES (38 by default, so that all ends within 45; 0: no bound) are left out, each with a line. The tests come first and are never left out.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=${MSA_TEST_MINUTES:-38}
scripts/setup.sh

part() { # part NAME: false if it is too late for it
  if [ "$limit" -gt 0 ] && [ $((SECONDS / 60)) -ge "$limit" ]; then
    echo "test: $1: LEFT OUT after $((SECONDS / 60)) minutes"
    return 1
  fi
  echo "test: $1 ($((SECONDS / 60)) minutes so far)"
}

sanitized() { # sanitized PRESET TARGETS... -- CTEST FLAGS...
  local preset=$1 targets=()
  shift
  while [ "$1" != -- ]; do targets+=("$1"); shift; done
  shift
  for step in "cmake --preset $preset" "cmake --build --preset $preset ${targets[*]+--target ${targets[*]}}"; do
    $step >"build/$preset.log" 2>&1 || { cat "build/$preset.log"; exit 1; }
  done
  ctest --preset "$preset" --output-on-failure "$@"
}

echo "test: format"
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | grep -v unicode_tables.cpp | xargs clang-format --dry-run --Werror

echo "test: release"
ctest --preset release --output-on-failure

echo "test: demo"
scripts/demo.sh

# What loses power and what is killed does the same in every build.
if part asan; then sanitized asan -- --exclude-regex '^(power_test|kill_test|headers)$'; fi

if part clang-tidy; then scripts/tidy.sh; fi

if part fuzz; then scripts/campaign.sh fuzz --seconds 60; fi

if command -v nvcc >/dev/null && part cuda; then
  # All that knows of a GPU, and its tests, which say that they are skipped where there is none.
  for step in "cmake --preset cuda -DCMAKE_CUDA_ARCHITECTURES=80-real;90a-real" "cmake --build --preset cuda --target msa cuda_test memory_cuda_test gpu_model_test gpu_memory_test gpu_weights_test"; do
    $step >build/cuda.log 2>&1 || { cat build/cuda.log; exit 1; }
  done
  ctest --preset cuda --label-regex gpu --verbose >build/cuda_tests.log 2>&1 || { cat build/cuda_tests.log; exit 1; }
  grep -oE 'SKIPPED +\] [A-Z].*\.[A-Za-z/0-9]+$' build/cuda_tests.log | sort -u || true
  grep 'tests passed' build/cuda_tests.log
fi

# Threads are in these alone; banks change on one thread.
if part tsan; then
  GTEST_FILTER='-*ChangeBank*:*ChangeFaults*:*Purge*:*VerifyDead*:*DamagedSegment*' \
    sanitized tsan base_test kernels_test samples_test memory_test many_writers_test -- \
    --tests-regex '^(base_test|kernels_test|samples_test|memory_test|many_writers_test)$'
fi
echo "test: all passed ($((SECONDS / 60)) minutes)"
