#!/usr/bin/env bash
# Long runs of tests that draw at random, as before a release: as many cases as are asked for, on all cores, and a line of counts at the end.
#
#   campaign.sh power [--states N] [--seed N]    power loss while banks are written: 1,000,000 states
#   campaign.sh crash [--kills N] [--seed N]     processes killed while they write: 20,000 kills
#
# Exit code 1: a promise was broken; the lines that begin with FAILED say how to make it happen again. docs/reliability.md has what was reached.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-}
shift || true
states=1000000 kills=20000 seed=$(date +%Y%m%d)
while [ $# -gt 0 ]; do
  case $1 in
    --states) states=$2 ;;
    --kills) kills=$2 ;;
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

case $what in
  power) power ;;
  crash) crash ;;
  *) sed -n '2,7p' "$0" >&2 && exit 2 ;;
esac
