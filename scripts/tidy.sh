#!/usr/bin/env bash
# scripts/tidy.sh [FILES...]: clang-tidy over these sources, else over all that are not tests. Needs what scripts/setup.sh installs and builds.
set -euo pipefail
cd "$(dirname "$0")/.."

tidy=$(ls -d "$HOME"/.cache/msa/clang-tidy-*/data/bin/clang-tidy | tail -1)
if [ $# -eq 0 ]; then
  mapfile -t files < <(git ls-files 'msa/*.cpp' 'cli/*.cpp' 'tests/*.cpp' | grep -Ev '_test.cpp|unicode_tables.cpp' | sort |
    comm -12 - <(jq -r '.[].file' build/release/compile_commands.json | sed "s|^$PWD/||" | sort -u))
  set -- "${files[@]}"
fi
# The build's flags are g++'s, and so is its omp.h; clang does not know all of the flags.
gcc_headers=$(g++ -print-file-name=include)
printf '%s\0' "$@" | xargs -0 -P "$(nproc)" -n 2 "$tidy" -p build/release --quiet --extra-arg=-Wno-unknown-warning-option \
  --extra-arg=-Wno-deprecated-declarations --extra-arg="-idirafter$gcc_headers" 2> >(grep -v 'warnings\? generated\|^Suppressed\|^Use -header-filter' >&2)
