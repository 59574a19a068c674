#!/usr/bin/env bash
# scripts/coverage.sh [CTEST FLAGS...]: line and branch coverage of the torch-free core by its own tests: by folder, and by file for what
# reads and commits banks. Not part of CI. What only a GPU runs is left out; processes that are killed leave no counts.
set -euo pipefail
cd "$(dirname "$0")/.."
gcovr_version=8.6
tools="$HOME/.cache/msa/gcovr-$gcovr_version"
[ -e "$tools" ] || python3 -m pip install --quiet --disable-pip-version-check --target "$tools" "gcovr==$gcovr_version"

mkdir -p build
cmake -B build/coverage -G Ninja -DCMAKE_BUILD_TYPE=Debug -DMSA_WITH_TORCH=OFF -DMSA_BUILD_BENCH=OFF \
  -DCMAKE_CXX_FLAGS="--coverage -fprofile-update=atomic -g0" >build/coverage.log
tests=(storage_test memory_test read_only_test vfs_failure_test base_test text_test corpus_test samples_test)
cmake --build build/coverage -j "${MSA_JOBS:-2}" --target "${tests[@]}" bank_values >build/coverage.log 2>&1 ||
  { tail -50 build/coverage.log; exit 1; }
find build/coverage -name '*.gcda' -delete
OMP_NUM_THREADS=1 ctest --test-dir build/coverage --tests-regex "^($(IFS='|'; echo "${tests[*]}")|read_bank)\$" --output-on-failure "$@" \
  >build/coverage_tests.log 2>&1 || { tail -50 build/coverage_tests.log; exit 1; }
tail -3 build/coverage_tests.log

# The objects of the libraries alone: those of the tests hold each header again, and take minutes.
PYTHONPATH="$tools" python3 -m gcovr --root . build/coverage/lib/*/CMakeFiles/msa_*.dir --merge-mode-functions merge-use-line-min \
  --filter 'msa/(base|text|storage|corpus|samples|memory)/' --exclude '.*_test\.cpp' --exclude '.*_(fixture|oracle)\.h' \
  --exclude 'msa/memory/(gpu_|upload)' --exclude-throw-branches --exclude-unreachable-branches \
  --json-summary build/coverage.json --txt build/coverage.txt
python3 - build/coverage.json <<'END'
import json
import sys

files = json.load(open(sys.argv[1]))["files"]
COMMITS = ("msa/storage/", "msa/memory/catalog", "msa/memory/bank", "msa/memory/segment_", "msa/memory/compact_bank",
           "msa/memory/change_catalog", "msa/memory/check_catalog", "msa/memory/merge_segments", "msa/memory/verify_bank")


def show(name, part):
    sums = [sum(file[key] for file in part) for key in ("line_covered", "line_total", "branch_covered", "branch_total")]
    share = [100 * sums[n] / sums[n + 1] if sums[n + 1] else 100 for n in (0, 2)]
    print(f"{name:36} {sums[0]:6}/{sums[1]:<6} lines {share[0]:5.1f} %  {sums[2]:6}/{sums[3]:<6} branches {share[1]:5.1f} %")


for folder in ("base", "text", "storage", "corpus", "samples", "memory"):
    show(folder, [file for file in files if file["filename"].startswith(f"msa/{folder}/")])
show("core", files)
for file in files:
    if file["filename"].startswith(COMMITS):
        show(file["filename"], [file])
END
echo "lines without a test: build/coverage.txt"
