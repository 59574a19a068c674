#!/usr/bin/env bash
# train_signals.sh MSA SOURCE [SIGNALS [SEED]]: a run that is asked to stop at any moment, while documents are read and tokenised, in a step, an
# evaluation or a mining, exits with 0 every time, goes on, and ends with the bits and the log of one that is not.
set -euo pipefail
msa=$(realpath "$1")
source=$(realpath "$2")
signals=${3:-50}
RANDOM=${4:-1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 "$source/bench/corpus/make_corpus.py" "$folder/corpus" --documents 300 --questions 300 --processes 1
cat "$folder"/corpus/documents/*.jsonl >"$folder/documents.jsonl"
tail -n 30 "$folder/corpus/questions.jsonl" | jq -r .id >"$folder/held_back.txt"

train() { # train OUTPUT FLAGS...: in place of the shell that it runs in
  exec "$msa" train "$source/configs/smoke.toml" --set "run.output=$folder/$1" --set run.checkpoint_seconds=1 --set run.threads=1 \
    --set "data.cache=$folder/$1.cache" --set "data.held_back=$folder/held_back.txt" --set "data.source.0.documents=$folder/documents.jsonl" \
    --set "data.source.0.questions=$folder/corpus/questions.jsonl" --set evaluation.every_steps=10 --set evaluation.questions=10 \
    --set evaluation.memory_tokens=2048,8192 --set phase.0.stop.seconds=0 --set phase.0.stop.recall=0 --set phase.0.stop.steps=100 \
    --set phase.0.mixture.memory_tokens=256 --set phase.0.mixture.sequence_tokens=256 --set phase.0.mixture.similar_share=0.2 \
    --set mining.every_steps=15 --set mining.questions=20 --set mining.memory_tokens=8192 "${@:2}" >>"$folder/$1.txt" 2>&1
}

expect_equal() { # the run that was stopped and the whole one
  cmp "$folder/whole/model/model.safetensors" "$folder/stopped/model/model.safetensors"
  lines() { jq -cS '[.kind, .step, .losses, .gradient_norm, .figures, .num_groups]' "$folder/$1/log.jsonl"; }
  cmp <(lines whole) <(lines stopped)
  last() { ls "$folder/$1/checkpoints" | tail -n 1; }
  for file in parameters optimizer similar; do
    cmp "$folder/whole/checkpoints/$(last whole)/$file.safetensors" "$folder/stopped/checkpoints/$(last stopped)/$file.safetensors"
  done
}

(train whole)
touch "$folder/stopped.txt"
sent=0 runs=0 slowest=0
while ((sent < signals)); do
  if ((sent < 5)); then rm -rf "$folder/stopped.cache"; fi # documents are tokenised again
  rm -f "$folder/stopped/lock"
  train stopped --resume &
  pid=$!
  # From here on the program stops in order.
  while [ ! -e "$folder/stopped/lock" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
  # A few at once, which finds it before its first step.
  if ((sent % 5 > 0)); then sleep "0.$((RANDOM % 7))$((RANDOM % 10))"; fi
  if kill -TERM "$pid" 2>/dev/null; then sent=$((sent + 1)); fi
  asked=$(date +%s%N)
  wait "$pid"
  took=$((($(date +%s%N) - asked) / 1000000))
  if ((took > slowest)); then slowest=$took; fi
  if [ -e "$folder/stopped/model" ]; then
    expect_equal
    runs=$((runs + 1))
    rm -rf "$folder/stopped"
  fi
done
(train stopped --resume)
expect_equal
count() { grep -c "$1" "$folder/stopped.txt" || true; }
echo "$sent signals in $((runs + 1)) runs, ended at most $slowest ms later: $(count 'before the first step') before the first step," \
  "$(count '^stopped; --resume') with a checkpoint"
[ "$(count '^stopped; --resume')" -gt $((signals / 2)) ]
