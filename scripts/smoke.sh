#!/usr/bin/env bash
# smoke.sh [MSA]: trains configs/smoke.toml on invented documents and checks that unseen questions find theirs.
set -euo pipefail
cd "$(dirname "$0")/.."
msa=${1:-build/release/msa}
folder=build/smoke

rm -rf "$folder"
mkdir -p "$folder"
python3 bench/corpus/make_corpus.py "$folder/corpus" --documents 3000 --questions 3000 --processes 1
cat "$folder"/corpus/documents/*.jsonl >"$folder/documents.jsonl"
cp "$folder/corpus/questions.jsonl" "$folder/questions.jsonl"
tail -n 300 "$folder/questions.jsonl" | jq -r .id >"$folder/held_back.txt"

"$msa" train configs/smoke.toml

# The last line about the larger memory: 65,536 tokens, eight times those of a step; 4 of 400 documents by chance.
recall=$(jq -s 'map(select(.memory_tokens > 60000)) | last.figures.recall_4' "$folder/run/log.jsonl")
echo "smoke: recall@4 of unseen questions over 65,536 tokens: $recall"
jq -en "$recall >= 0.95" >/dev/null
"$msa" info "$folder/run/model" --json >/dev/null
test -s "$folder/run/report.html"
