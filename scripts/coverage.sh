#!/usr/bin/env bash
# scripts/coverage.sh [CTEST FLAGS...]: lines and branches that the tests of the torch-free part reach, by folder, and every branch of the
# readers and of the commit path that none of them takes. Not part of CI. Branches are clang's: each condition, once true and once false.
# Processes that are killed leave no counts: kill_test is left out, power_test for its time, and the kernels' own tests.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/coverage
for tool in clang++ llvm-profdata llvm-cov; do
  command -v $tool >/dev/null || { echo "coverage.sh: no $tool: apt-get install clang llvm" >&2; exit 2; }
done

quietly() { # quietly LOG COMMAND...: shows the end of the output of a command that fails
  local log=$1
  shift
  "$@" >"$log" 2>&1 || { tail -n 50 "$log" >&2; exit 1; }
}

mkdir -p $build
tests=(attacks_test backup_test base_test corpus_test engine_part_test export_test many_writers_test memory_failure_test memory_test model_part_test
  read_only_test samples_test storage_test text_test train_part_test vfs_failure_test)
quietly $build/configure.log cmake -B $build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_COMPILER=clang++ \
  -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g0" -DCMAKE_CXX_FLAGS="-fprofile-instr-generate -fcoverage-mapping" \
  -DMSA_WITH_TORCH=OFF -DMSA_BUILD_BENCH=OFF -DMSA_TORCH_FREE_PARTS=ON
quietly $build/build.log nice cmake --build $build -j "${MSA_JOBS:-$(nproc)}" --target "${tests[@]}" bank_values

rm -rf $build/profiles
names=$(IFS='|'; echo "${tests[*]}")
export LLVM_PROFILE_FILE="$PWD/$build/profiles/%4m.profraw" OMP_NUM_THREADS=1
quietly $build/tests.log ctest --test-dir $build --tests-regex "^($names|read_bank)\$" --output-on-failure "$@"
grep -E 'tests passed|Total Test time' $build/tests.log

llvm-profdata merge -sparse $build/profiles/*.profraw -o $build/merged.profdata
objects=($build/bank_values)
for test in "${tests[@]}"; do objects+=(-object "$build/$test"); done
llvm-cov export -instr-profile $build/merged.profdata -skip-functions -ignore-filename-regex='(_test\.cpp$|^/usr|/tests/)' "${objects[@]}" \
  >$build/coverage.json
python3 scripts/coverage_report.py $build/coverage.json | tee $build/coverage.txt
