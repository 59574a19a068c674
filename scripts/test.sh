#!/usr/bin/env bash
# Everything that must hold: format, layers, all tests, and the torch-free part again under sanitizers.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh

echo "test: format"
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | grep -v unicode_tables.cpp | xargs clang-format --dry-run --Werror

echo "test: clang-tidy"
scripts/tidy.sh

echo "test: release"
ctest --preset release --output-on-failure

echo "test: demo"
scripts/demo.sh

if command -v nvcc >/dev/null; then
  echo "test: cuda"
  # All that knows of a GPU, and its tests, which say that they are skipped where there is none.
  for step in "cmake --preset cuda -DCMAKE_CUDA_ARCHITECTURES=80-real;90a-real" "cmake --build --preset cuda --target msa cuda_test memory_cuda_test gpu_model_test gpu_memory_test gpu_weights_test"; do
    $step >build/cuda.log 2>&1 || { cat build/cuda.log; exit 1; }
  done
  ctest --preset cuda --label-regex gpu --verbose >build/cuda_tests.log 2>&1 || { cat build/cuda_tests.log; exit 1; }
  grep -oE 'SKIPPED +\] [A-Z].*\.[A-Za-z/0-9]+$' build/cuda_tests.log | sort -u || true
  grep 'tests passed' build/cuda_tests.log
fi

echo "test: fuzz"
scripts/campaign.sh fuzz --seconds 60

sanitized() { # sanitized PRESET TARGETS... -- CTEST FLAGS...
  local preset=$1 targets=()
  shift
  while [ "$1" != -- ]; do targets+=("$1"); shift; done
  shift
  echo "test: $preset"
  for step in "cmake --preset $preset" "cmake --build --preset $preset ${targets[*]+--target ${targets[*]}}"; do
    $step >"build/$preset.log" 2>&1 || { cat "build/$preset.log"; exit 1; }
  done
  ctest --preset "$preset" --output-on-failure "$@"
}

# What loses power and what is killed does the same in every build.
sanitized asan -- --exclude-regex '^(power_test|kill_test|headers)$'
# Threads are in these alone; banks change on one thread.
GTEST_FILTER='-*ChangeBank*:*ChangeFaults*:*Purge*:*VerifyDead*:*DamagedSegment*' \
  sanitized tsan base_test kernels_test samples_test memory_test many_writers_test -- \
  --tests-regex '^(base_test|kernels_test|samples_test|memory_test|many_writers_test)$'
echo "test: all passed"
