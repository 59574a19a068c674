#!/usr/bin/env bash
# train_kill.sh MSA SOURCE [KILLS [SEED]]: a run that is killed again and again, and that mines its misses, ends with
# the bits of one that is not; asked to stop (every third time) it writes a checkpoint and exits with 0.
set -euo pipefail
msa=$(realpath "$1")
source=$(realpath "$2")
kills=${3:-12}
RANDOM=${4:-1}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 "$source/bench/corpus/make_corpus.py" "$folder/corpus" --documents 300 --questions 300 --processes 1
cat "$folder"/corpus/documents/*.jsonl >"$folder/documents.jsonl"
tail -n 30 "$folder/corpus/questions.jsonl" | jq -r .id >"$folder/held_back.txt"

steps=$((40 + 50 * kills))
train() { # train OUTPUT FLAGS...: in place of the shell that it runs in
  exec "$msa" train "$source/configs/smoke.toml" --set "run.output=$folder/$1" --set run.checkpoint_seconds=1 --set run.threads=1 \
    --set "data.cache=$folder/cache" --set "data.held_back=$folder/held_back.txt" --set "data.source.0.documents=$folder/documents.jsonl" \
    --set "data.source.0.questions=$folder/corpus/questions.jsonl" --set evaluation.every_steps=0 --set phase.0.stop.seconds=0 \
    --set phase.0.stop.recall=0 --set "phase.0.stop.steps=$steps" --set phase.0.mixture.memory_tokens=512 \
    --set phase.0.mixture.sequence_tokens=512 --set phase.0.mixture.similar_share=0.2 --set mining.every_steps=50 --set mining.questions=40 \
    --set mining.memory_tokens=16384 "${@:2}" >>"$folder/$1.txt" 2>&1
}

num_started() { grep -c '^phase\|^resumed' "$folder/killed.txt" || true; }

(train whole)
touch "$folder/killed.txt"
for ((i = 0; i < kills; ++i)); do
  before=$(num_started)
  train killed --resume &
  pid=$!
  if ((i % 3 == 2)); then
    while [ "$(num_started)" -eq "$before" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    sleep "0.$((RANDOM % 1000))"
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" || [ -e "$folder/killed/model" ]
  else
    sleep "$((RANDOM % 3)).$((RANDOM % 1000))"
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  fi
  [ -e "$folder/killed/model" ] && break
done
[ -e "$folder/killed/model" ] || (train killed --resume)
resumed=$(grep -c '^resumed' "$folder/killed.txt" || true)
echo "stopped $i times, resumed $resumed times, $steps steps"
[ "$resumed" -gt 0 ]

cmp "$folder/whole/model/model.safetensors" "$folder/killed/model/model.safetensors"
losses() { jq -cS '[.step, .losses, .gradient_norm, .figures, .num_groups]' "$folder/$1/log.jsonl"; }
cmp <(losses whole) <(losses killed)
last() { ls "$folder/$1/checkpoints" | tail -n 1; }
for file in parameters optimizer similar; do
  cmp "$folder/whole/checkpoints/$(last whole)/$file.safetensors" "$folder/killed/checkpoints/$(last killed)/$file.safetensors"
done
