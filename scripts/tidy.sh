#!/usr/bin/env bash
# scripts/tidy.sh [FILES...]: clang-tidy over these sources, else over all that are not tests. Needs what scripts/setup.sh installs and builds.
# What was found good before is not looked at again until it, a header of it, or the rules change (stale_for_tidy.py).
set -euo pipefail
cd "$(dirname "$0")/.."

tidy=$(ls -d "$HOME"/.cache/msa/clang-tidy-*/data/bin/clang-tidy | tail -1)
stamps=$HOME/.cache/msa/tidy
mkdir -p "$stamps"
if [ $# -eq 0 ]; then
  mapfile -t files < <(git ls-files 'msa/*.cpp' 'cli/*.cpp' 'tests/*.cpp' | grep -Ev '_test.cpp|unicode_tables.cpp' | sort |
    comm -12 - <(jq -r '.[].file' build/release/compile_commands.json | sed "s|^$PWD/||" | sort -u))
  set -- "${files[@]}"
fi
look_at() { # look_at CLANG_TIDY STAMP SOURCE
  # The build's flags are g++'s, and so is its omp.h; clang does not know all of the flags.
  "$1" -p build/release --quiet --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-deprecated-declarations \
    --extra-arg="-idirafter$(g++ -print-file-name=include)" "$3" || { echo "clang-tidy: $3"; return 1; }
  touch "$2"
}
export -f look_at
stale=$(scripts/stale_for_tidy.py "$tidy" "$stamps" "$@")
echo "clang-tidy: $(grep -c . <<<"$stale" || true) of $# sources to look at"
[ -z "$stale" ] || xargs -P "$(nproc)" -L 1 bash -c 'look_at "$@"' _ "$tidy" <<<"$stale" \
  2> >(grep -v 'warnings\? generated\|^Suppressed\|^Use -header-filter' >&2)
