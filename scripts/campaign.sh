#!/usr/bin/env bash
# Long runs of tests that draw at random, as before a release: as many cases as are asked for, on all cores, and a line of counts at the end.
#
#   campaign.sh power [--states N] [--seed N]    power loss while banks are written: 1,000,000 states
#   campaign.sh crash [--kills N] [--seed N]     processes killed while they write: 20,000 kills
#   campaign.sh fuzz [--runs N] [--seconds N] [--only FUZZER] [--seed N]
#                                                inputs for everything that reads bytes: 100,000,000 in sum over all fuzzers, or as many as fit in
#                                                the seconds, of which another fuzzer has half after every commit
#   campaign.sh memory                           every allocation fails once, in all that is done with a bank
#   campaign.sh safetensors [--files N] [--seed N]  files for our reader and that of the package safetensors (from PyPI): 100,000
#
# Exit code 1: a promise was broken; the lines that begin with FAILED say how to make it happen again. docs/reliability.md has what was reached.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-}
shift || true
states=1000000 kills=20000 runs=100000000 seconds=0 only= files=100000 seed=$(date +%Y%m%d)
while [ $# -gt 0 ]; do
  case $1 in
    --states) states=$2 ;;
    --kills) kills=$2 ;;
    --runs) runs=$2 ;;
    --seconds) seconds=$2 ;;
    --only) only=$2 ;;
    --files) files=$2 ;;
    --seed) seed=$2 ;;
    *) echo "campaign.sh: unknown flag $1" >&2 && exit 2 ;;
  esac
  shift 2
done
build=build/campaign
workers=$(nproc)

build() { # build TARGET...: without torch, in a folder of its own
  mkdir -p "$build"
  if ! { cmake -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DMSA_WITH_TORCH=OFF && cmake --build "$build" --target "$@"; } \
    >"$build/build.log" 2>&1; then
    tail -n 40 "$build/build.log" >&2
    exit 2
  fi
}

power() {
  build power_loss
  local failed=0 pids=() n
  for ((n = 0; n < workers; ++n)); do
    "$build/power_loss" --seed "$seed" --first-script "$n" --step "$workers" --scripts 1000000000 --variants 10 \
      --states $(((states + workers - 1) / workers)) >"$build/power.$n.txt" &
    pids+=($!)
  done
  for n in "${pids[@]}"; do wait "$n" || failed=1; done
  grep -h '^FAILED' "$build"/power.*.txt || true
  awk -v seed="$seed" '/^power:/ { for (i = 2; i < NF; ++i) sum[$(i + 1)] += $i; seconds = $(NF - 1) > seconds ? $(NF - 1) : seconds; after += $6 }
    END { printf "campaign: power, seed %s: %d states, %d distinct, %d after a second loss; %d operations, %d commits acknowledged; %d failures; %d s\n",
          seed, sum["states"], sum["distinct"], after, sum["operations"], sum["commits"], sum["failures,"], seconds }' \
    $(for ((n = 0; n < workers; ++n)); do echo "$build/power.$n.txt"; done)
  return $failed
}

crash() {
  build kill_test ingest_child
  local start=$SECONDS
  MSA_KILLS=$kills MSA_SEED=$seed "$build/kill_test" | tee "$build/crash.txt"
  echo "campaign: crash, seed $seed: $(grep -E '^[0-9]+ kills' "$build/crash.txt"); $((SECONDS - start)) s"
}

# one_fuzzer NAME RUNS SECONDS: both 0 for no bound. A line of counts; what it found is run once more by itself, and counts if it fails again.
one_fuzzer() {
  local name=$1 runs=$2 seconds=$3 n pids=() flags limits findings=0 other=0 artifact
  local folder=build/fuzz/run/$name
  mkdir -p "$folder/corpus" build/fuzz/findings build/fuzz/seeds/"$name" tests/fuzz/corpus/"$name"
  rm -f "$folder"/log.*
  limits=(-timeout=1 -malloc_limit_mb=68 -rss_limit_mb=2048 -max_len=65536)
  if [ -e "tests/fuzz/$name.options" ]; then mapfile -t -O "${#limits[@]}" limits < <(sed -n 's/^\([a-z_]*\) = /-\1=/p' "tests/fuzz/$name.options"); fi
  flags=("${limits[@]}" -print_final_stats=1 -verbosity=1)
  [ -e "tests/fuzz/$name.dict" ] && flags+=(-dict="tests/fuzz/$name.dict")
  [ "$runs" -gt 0 ] && flags+=(-runs=$(((runs + workers - 1) / workers)))
  [ "$seconds" -gt 0 ] && flags+=(-max_total_time="$seconds")
  for ((n = 0; n < workers; ++n)); do
    "build/fuzz/$name" "${flags[@]}" -seed=$((seed + n)) -artifact_prefix="build/fuzz/findings/$name-" \
      "$folder/corpus" "build/fuzz/seeds/$name" "tests/fuzz/corpus/$name" >"$folder/log.$n" 2>&1 &
    pids+=($!)
  done
  for n in "${pids[@]}"; do wait "$n" || true; done
  for artifact in "build/fuzz/findings/$name"-{crash,timeout,oom,leak}-*; do
    [ -e "$artifact" ] || continue
    if "build/fuzz/$name" "${limits[@]}" "$artifact" >"$folder/again" 2>&1; then
      other=$((other + 1))
    else
      findings=$((findings + 1))
      echo "FAILED build/fuzz/$name $artifact: $(grep -m1 -E '^FAILED|ERROR|runtime error' "$folder/again" || true)"
    fi
  done
  if [ "$(grep -l 'stat::number_of_executed_units' "$folder"/log.* | wc -l)" -lt "$workers" ] && [ $((findings + other)) -eq 0 ]; then
    findings=1
    echo "FAILED build/fuzz/$name did not end well: $folder/log.*"
  fi
  awk -v name="$name" -v findings="$findings" -v other="$other" '/stat::number_of_executed_units/ { runs += $2 } / cov: / { for (i = 1; i < NF; ++i) { if ($i == "cov:" && $(i + 1) > cov) cov = $(i + 1)
    if ($i == "ft:" && $(i + 1) > ft) ft = $(i + 1) } } END { printf "campaign: fuzz %s: %d executions, %d edges, %d features, %d findings%s\n", name, runs, cov, ft, findings,
    (other > 0 ? ", " other " that did not happen again" : "") }' "$folder"/log.*
  return $((findings > 0))
}

fuzz() {
  local start=$SECONDS failed=0 names=() name n=0 chosen
  mkdir -p build
  for step in "cmake --preset fuzz" "cmake --build --preset fuzz"; do
    $step >build/fuzz.log 2>&1 || { tail -n 40 build/fuzz.log >&2; exit 2; }
  done
  rm -rf build/fuzz/seeds
  build/fuzz/make_seeds build/fuzz/seeds
  export OMP_NUM_THREADS=1
  for name in tests/fuzz/*_fuzz.cpp; do names+=("$(basename "$name" .cpp)"); done
  [ -n "$only" ] && names=("$only")
  chosen=$(($(git rev-list --count HEAD 2>/dev/null || echo 0) % ${#names[@]}))
  for name in "${names[@]}"; do
    local each=0
    if [ "$seconds" -gt 0 ]; then
      each=$((seconds / 2 / ${#names[@]} + 1))
      [ $((n++)) -eq "$chosen" ] && each=$((each + seconds / 2))
      one_fuzzer "$name" 0 "$each" || failed=1
    else
      one_fuzzer "$name" $((runs / ${#names[@]})) 0 || failed=1
    fi
  done
  echo "campaign: fuzz, seed $seed: ${#names[@]} fuzzers, $((SECONDS - start)) s with the build"
  return $failed
}

memory() {
  build memory_failure_test
  local start=$SECONDS failed=0
  MSA_ALL_ALLOCATIONS=1 "$build/memory_failure_test" >"$build/memory.txt" || failed=1
  grep ': Failure$' -A8 "$build/memory.txt" | sed 's/^/FAILED /' || true
  awk -v seconds=$((SECONDS - start)) '/allocations failed/ { tried += $1; ended += $6 }
    END { printf "campaign: memory: %d allocations failed, %d ended the work; %d s\n", tried, ended, seconds }' "$build/memory.txt"
  return $failed
}

safetensors() {
  build safetensors_peer
  local start=$SECONDS
  [ -e "$build/python/safetensors" ] ||
    python3 -m pip install --quiet --target "$build/python" safetensors==0.8.0 >"$build/python.log" 2>&1 || { cat "$build/python.log" >&2; exit 2; }
  PYTHONPATH=$build/python python3 tests/differential/safetensors_differential.py "$build/safetensors_peer" --files "$files" --seed "$seed" |
    sed 's/^safetensors/campaign: safetensors/'
  echo "campaign: safetensors: $((SECONDS - start)) s"
}

case $what in
  power) power ;;
  crash) crash ;;
  fuzz) fuzz ;;
  memory) memory ;;
  safetensors) safetensors ;;
  *) sed -n '2,12p' "$0" >&2 && exit 2 ;;
esac
