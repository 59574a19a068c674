#!/usr/bin/env bash
# The program as its users meet it: good input, bad input, exit codes, interruption. usage: cli_test.sh MSA SOURCE_DIR
set -u
msa=$1
source_dir=$2
model=$source_dir/models/msa-tiny
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# expect NAME CODE TEXT COMMAND...: the command ends with CODE and prints TEXT somewhere.
expect() {
  local name=$1 code=$2 text=$3
  shift 3
  local output status
  output=$("$@" 2>&1 </dev/null)
  status=$?
  if [ "$status" -eq "$code" ] && grep -qF -- "$text" <<<"$output"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $name: exit $status, wanted $code with \"$text\"; got:"
    head -c 600 <<<"$output"
    echo
  fi
}

copy_model() { # copy_model NAME: a copy of the model whose files can be changed
  rm -rf "${work:?}/$1"
  mkdir "$work/$1"
  cp "$model"/*.json "$model/model.safetensors" "$work/$1/"
  chmod -R u+w "$work/$1"
}

damage() { # damage FILE OFFSET: changes the byte there
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1")
  printf "\\x$(printf %x $((byte ^ 90)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

head -n 30 "$source_dir/examples/documents.jsonl" >"$work/docs.jsonl"
bank=$work/bank

expect "ingest" 0 "30 documents" "$msa" ingest "$bank" "$work/docs.jsonl"
expect "ingest again skips" 0 "30 there already" "$msa" ingest "$bank" "$work/docs.jsonl"
expect "stat" 0 '"documents":30' "$msa" bank stat "$bank" --json
expect "verify" 0 "is as it was written" "$msa" bank verify "$bank"
expect "ls" 0 "qed-" "$msa" bank ls "$bank" --limit 5
expect "show by id" 0 "[1] bytes 0-" "$msa" bank show "$bank" 1
expect "ask" 0 '"declined":false,' "$msa" ask "$bank" "when was MGM Resorts founded" --json
expect "evidence" 0 '"evidence":[{"document":' "$msa" ask "$bank" "when was MGM Resorts founded" --json
expect "what no document says" 0 'true []' bash -c "'$msa' ask '$bank' 'who wrote the Necronomicon' --json |
  jq -cj '.declined, \" \", .evidence'"
expect "declining is not wanted" 0 'false true' bash -c "'$msa' ask '$bank' 'who wrote the Necronomicon' --decline-from 1 --json |
  jq -cj '.declined, \" \", (.decline_probability > 0.4 and .answer != \"I do not know.\")'"
expect "a probability above 1" 2 "--decline-from: Value 2 not in range" "$msa" ask "$bank" "x" --decline-from 2
expect "trace" 0 "layer 14:" "$msa" ask "$bank" "when was MGM Resorts founded" --trace
expect "route" 0 '"layers":[{"layer":8' "$msa" route "$bank" "when was MGM Resorts founded" --json
expect "constrained ids" 0 "ms (" "$msa" ask "$bank" "what is a casino" --ids constrained
expect "given passages" 0 '"ids":[3,1],' "$msa" ask "$bank" "what is a casino" --json --read 3,1
expect "a passage given twice is read once" 0 '"appended":[3]' "$msa" ask "$bank" "what is a casino" --json --read 3,3
expect "brackets are no list" 0 '"question":"[a,b]"' "$msa" ask "$bank" "[a,b]" --json
expect "progress" 0 "% " "$msa" ingest "$work/progress" "$work/docs.jsonl"
expect "environment twin" 2 "top_p must be in" env MSA_TOP_P=7 "$msa" ask "$bank" "x"
expect "free ids" 0 "ms (" "$msa" ask "$bank" "what is a casino" --ids free
expect "tokenize" 0 '"ids":[' "$msa" tokenize --model "$model" "How many tokens?"
expect "info" 0 '"router_layers":[8,10,12,14]' "$msa" info --json
expect "completion" 0 "-F _msa msa" "$msa" completion bash
expect "help has an example" 0 "Example: msa ingest" "$msa" ingest --help

# Banks of smaller content; a later ingest goes on in the type that the bank has.
head -n 8 "$work/docs.jsonl" >"$work/few.jsonl"
for type in int8 int4; do
  expect "ingest into $type" 0 "8 documents" "$msa" ingest "$work/$type" "$work/few.jsonl" --content-type $type
  expect "$type stays" 0 "8 there already" "$msa" ingest "$work/$type" "$work/few.jsonl" "$source_dir/examples/memory.md"
  expect "stat of $type" 0 "\"content\":\"$type\"" "$msa" bank stat "$work/$type" --json
  expect "verify of $type" 0 "is as it was written" "$msa" bank verify "$work/$type"
  expect "ask $type" 0 '"evidence":[{"document":' "$msa" ask "$work/$type" "when was MGM Resorts founded" --json
done
expect "no such content" 2 "int2 not in" "$msa" ingest "$work/int2" "$work/few.jsonl" --content-type int2

# Equal seeds, equal bytes; the quote is the stored text.
ask() { "$msa" ask "$bank" "who founded the company" --json --temperature 0.8 --seed 7 | jq -c 'del(.timing_ms, .rounds)'; }
first=$(ask)
if [ -n "$first" ] && [ "$first" = "$(ask)" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: seeds"; fi
if "$msa" ask "$bank" "when was MGM Resorts founded" --json | jq -e --slurpfile docs "$work/docs.jsonl" '
    .evidence[0] as $e | ($docs[] | select(.id == $e.name) | .text | @base64 | @base64d | explode | implode) as $t
    | ($t | tojson | contains($e.quote | tojson | .[1:-1]))' >/dev/null; then
  passed=$((passed + 1))
else
  failed=$((failed + 1))
  echo "FAILED: the quote is not in the document"
fi

# Questions in a file, one line out for each, bad ones too.
printf '{"id":"a","question":"what is a casino"}\n{"id":"b","question":"   "}\n' >"$work/q.jsonl"
expect "batch" 0 "1 questions failed" "$msa" ask "$bank" --questions "$work/q.jsonl" --output "$work/a.jsonl"
expect "batch lines" 0 '"code":"invalid_argument"' tail -n 1 "$work/a.jsonl"
cp "$work/a.jsonl" "$work/kept.jsonl"
expect "batch without a bank" 3 "there is no bank" "$msa" ask "$work/none" --questions "$work/q.jsonl" --output "$work/a.jsonl"
expect "what was there is kept" 0 "" cmp "$work/a.jsonl" "$work/kept.jsonl"
expect "batch onto itself" 2 "must not be the file" "$msa" ask "$bank" --questions "$work/q.jsonl" --output "$work/q.jsonl"
expect "batch with a bad option" 2 "temperature" "$msa" ask "$bank" --questions "$work/q.jsonl" --output "$work/a.jsonl" --temperature -1
expect "output that cannot be written" 5 "cannot write the output" bash -c "'$msa' ask '$bank' x --json >/dev/full"
expect "chat as json" 0 '"answer":' bash -c "echo 'what is a casino' | '$msa' chat '$bank' --json"
expect "chat" 0 "ms (" bash -c "echo 'what is a casino' | '$msa' chat '$bank'"

# Wrong use.
expect "no command" 2 "subcommand" "$msa"
expect "unknown flag" 2 "--colour" "$msa" ask "$bank" "x" --colour
expect "usage as json" 2 '{"error":{"code":"invalid_argument"' "$msa" ask "$bank" "x" --colour --json
expect "empty question" 2 "empty" "$msa" ask "$bank" "  "
expect "temperature" 2 "temperature must be in" "$msa" ask "$bank" "x" --temperature -1
expect "no bank" 3 "there is no bank at" "$msa" ask "$work/none" "x"
expect "no input" 3 "there is no such file" "$msa" ingest "$bank" "$work/none.txt"
expect "not a bank" 7 "neither a bank nor empty" "$msa" ingest "$source_dir/examples" "$work/docs.jsonl"
expect "json error" 3 '"code":"not_found"' "$msa" bank stat "$work/none" --json
expect "no passage" 3 'has no document' "$msa" bank show "$bank" nothing

# Bad documents are named, the others go in.
printf '{"id":"one","text":"A good text."}\n{"id":"two","text":"bad \xff"}\n{"id":"three","text":"  "}\n{"id":4}\nnot json\n{"id":"one","text":"Another."}\n' >"$work/bad.jsonl"
printf 'fine' >"$work/note.txt"
printf 'broken \xc3\x28' >"$work/broken.md"
for wanted in "bad.jsonl:2: not UTF-8 at byte" "bad.jsonl:3: the text is empty" 'bad.jsonl:4: the line: the key "text" is missing' \
  "bad.jsonl:5: the line: not JSON" 'bad.jsonl:6: the name "one" came before' "broken.md:1: not UTF-8" "2 documents in"; do
  rm -rf "$work/bad_bank"
  expect "bad documents: $wanted" 0 "$wanted" "$msa" ingest "$work/bad_bank" "$work/bad.jsonl" "$work/note.txt" "$work/broken.md"
done

# Bad models.
copy_model cut && truncate -s -100 "$work/cut/model.safetensors"
expect "truncated weights" 7 "model.safetensors" "$msa" info "$work/cut"
copy_model shape && sed -i 's/"intermediate_size": 1024/"intermediate_size": 1000/' "$work/shape/config.json"
expect "wrong shape" 7 "must have the shape [1000, 384]" "$msa" info "$work/shape"
copy_model nan && python3 -c 'import json, sys
with open(sys.argv[1], "r+b") as file:
    length = int.from_bytes(file.read(8), "little")
    norm = json.loads(file.read(length))["model.norm.weight"]
    file.seek(8 + length + norm["data_offsets"][0])
    file.write(b"\xff" * 4)' "$work/nan/model.safetensors"
expect "NaN" 7 "not finite" "$msa" info "$work/nan"
copy_model noconfig && rm "$work/noconfig/config.json"
expect "no config" 3 "no config.json" "$msa" info "$work/noconfig"
copy_model notokenizer && rm "$work/notokenizer/tokenizer.json"
expect "no tokenizer" 3 "holds no tokenizer" "$msa" info "$work/notokenizer"
copy_model badtokenizer && head -c 1000 "$model/tokenizer.json" >"$work/badtokenizer/tokenizer.json"
expect "damaged tokenizer" 7 "tokenizer.json" "$msa" info "$work/badtokenizer"
copy_model words && cp "$source_dir"/tests/data/tokenizer/qwen2/*.json "$source_dir"/tests/data/tokenizer/qwen2/merges.txt "$work/words/" &&
  rm "$work/words/tokenizer.json"
expect "tokenizer of another model" 8 "tokens, the model's vocab_size is" "$msa" info "$work/words"
cp -r "$source_dir/tests/data/golden/tiny-msa/"*.json "$source_dir/tests/data/golden/tiny-msa/merges.txt" "$work/words/"
cp "$model/config.json" "$work/words/"
expect "too small a tokenizer" 8 "the tokenizer has 800 tokens" "$msa" info "$work/words"
copy_model topk && sed -i 's/"top_k_docs": 16/"top_k_docs": 4/' "$work/topk/config.json"
expect "two top k" 7 "inference and training would differ" "$msa" info "$work/topk"
expect "two top k, told" 0 "ms (" "$msa" ask "$bank" "x" --model "$work/topk" --allow-two-top-k
copy_model remark && sed -i '0,/{/s//{"remark": "a key that changes nothing",/' "$work/remark/config.json"
expect "a key more in the config" 0 "ms (" "$msa" ask "$bank" "x" --model "$work/remark"
copy_model plain && jq 'del(.msa_config) | .model_type = "qwen3"' "$model/config.json" >"$work/plain/config.json"
expect "a model without routers" 2 "no router layers" "$msa" ingest "$work/no_bank" "$work/note.txt" --model "$work/plain"
expect "a long title" 0 "1 documents" bash -c "jq -n '{id: \"t\", title: (\"word \" * 20000), text: (\"Some text. \" * 2000)}' >'$work/title.json' && jq -c . '$work/title.json' >'$work/title.jsonl' && timeout 60 '$msa' ingest '$work/title_bank' '$work/title.jsonl'"
copy_model other && printf '\x01' | dd of="$work/other/model.safetensors" bs=1 seek=20000000 conv=notrunc status=none
expect "bank of another model" 8 "model_fingerprint" "$msa" ask "$bank" "x" --model "$work/other"
expect "ingest with another model" 8 "model_fingerprint" "$msa" ingest "$bank" "$work/note.txt" --model "$work/other"

# Documents that change and go.
changing=$work/changing
printf '%s\n' '{"id":"a","text":"The harbour of Kestrel was built in 1731."}' '{"id":"b","text":"Xylograph canary of the second text."}' \
  '{"id":"c","text":"A third one stays."}' >"$work/change.jsonl"
expect "bank to change" 0 "3 documents" "$msa" ingest "$changing" "$work/change.jsonl"
expect "its format" 0 '"format":1' "$msa" bank stat "$changing" --json
printf '%s\n' '{"id":"a","text":"The harbour of Kestrel was built in 1732."}' '{"id":"c","text":"A third one stays."}' >"$work/changed.jsonl"
expect "another text of a name" 0 "another document named" "$msa" ingest "$changing" "$work/changed.jsonl"
expect "upsert" 0 '"documents":1,"passages":1,' "$msa" ingest "$changing" "$work/changed.jsonl" --upsert --json
expect "upsert again" 0 "2 there already" "$msa" ingest "$changing" "$work/changed.jsonl" --upsert
expect "replaced text" 0 "in 1732" "$msa" bank show "$changing" a
expect "no document twice" 0 '"documents":3' "$msa" bank stat "$changing" --json
expect "forget" 0 '"documents":1,"unknown":["nobody"]' "$msa" forget "$changing" b nobody --json
expect "forget, told what is not there" 3 'holds no document "b"' "$msa" forget "$changing" b
expect "forgotten" 3 "has no document" "$msa" bank show "$changing" b
expect "its bytes may stay" 0 '"format":3' "$msa" bank stat "$changing" --json
expect "ask of what is left" 0 "ms (" "$msa" ask "$changing" "when was the harbour of Kestrel built"
expect "compact" 0 "segments written anew" "$msa" compact "$changing"
expect "purge" 0 '"purged":true' "$msa" compact "$changing" --purge --json
expect "nothing is dead" 0 '"dead_bytes":0' "$msa" bank stat "$changing" --json
expect "no byte is left" 1 "" grep -rq "Xylograph" "$changing"
expect "whole after changes" 0 "as it was written" "$msa" bank verify "$changing"
expect "forget without a bank" 3 "there is no bank" "$msa" forget "$work/none" a
expect "compact without a bank" 3 "there is no bank" "$msa" compact "$work/none"

# Copies of a bank, and its documents as lines.
copies=$work/copies
expect "bank to copy" 0 "30 documents" "$msa" ingest "$copies" "$work/docs.jsonl" --commit-tokens 2000
expect "backup" 0 "holds 30 documents" "$msa" backup "$copies" "$work/backup"
expect "backup of the same" 0 '"copied_segments":0' "$msa" backup "$copies" "$work/backup" --json
expect "import more" 0 "1 documents" "$msa" import "$copies" "$work/note.txt"
expect "backup of what has changed" 0 '"copied_segments":1,' "$msa" backup "$copies" "$work/backup" --json
expect "a backup is whole" 0 "as it was written" "$msa" bank verify "$work/backup"
expect "and answers" 0 "ms (" "$msa" ask "$work/backup" "x"
expect "restore" 0 "31 documents" "$msa" restore "$work/backup" "$work/restored"
expect "restore onto a bank" 2 "is there: it is a bank" "$msa" restore "$work/backup" "$work/restored"
expect "what is restored is whole" 0 "as it was written" "$msa" bank verify "$work/restored"
expect "backup onto a bank" 7 "not a backup" "$msa" backup "$copies" "$work/restored"
expect "backup onto another backup" 8 "is of another bank" "$msa" backup "$changing" "$work/backup"
expect "backup into itself" 2 "within the other" "$msa" backup "$copies" "$copies/tmp/backup"
expect "backup of nothing" 3 "there is no bank" "$msa" backup "$work/none" "$work/none.backup"
expect "export" 0 '{"id":' "$msa" export "$copies"
expect "export to a file" 0 "" "$msa" export "$copies" --out "$work/export.jsonl"
expect "ingest of an export" 0 "31 documents" "$msa" ingest "$work/exported" "$work/export.jsonl"
expect "the export of which is the same" 0 "" bash -c "'$msa' export '$work/exported' | cmp - '$work/export.jsonl'"
expect "export of nothing" 3 "there is no bank" "$msa" export "$work/none"
expect "export onto a full disk" 5 "cannot write" bash -c "'$msa' export '$copies' >/dev/full"
cp -r "$copies" "$work/bitten"
size=$(stat -c %s "$work/bitten/segments/000001.msa")
damage "$work/bitten/segments/000001.msa" $((size / 2))
expect "backup of a damaged bank" 6 "000001.msa at byte" "$msa" backup "$work/bitten" "$work/bitten.backup"
expect "which is no bank" 3 "there is no bank" "$msa" bank verify "$work/bitten.backup"

# Attributes, and what a reader makes of changes.
attributes=$work/attributes
printf '%s\n' '{"id":"m","title":"MGM Resorts","text":"MGM Resorts was founded in 1986 by Kirk Kerkorian.","year":1986,"tags":["hotel","casino"]}' \
  '{"id":"s","title":"Mary Celeste","text":"The Mary Celeste was built in Nova Scotia in 1861.","year":1861}' \
  '{"id":"t","title":"Eiffel Tower","text":"The Eiffel Tower was completed in 1889.","year":1889}' >"$work/attributes.jsonl"
expect "documents with attributes" 0 "3 documents" "$msa" ingest "$attributes" "$work/attributes.jsonl"
expect "ls where" 0 "[1]  m  MGM" "$msa" bank ls "$attributes" --where tags=casino
expect "ls where, no more" 0 "1" bash -c "'$msa' bank ls '$attributes' --where 'year<1889' | wc -l"
expect "route where" 0 '["s","t"]' bash -c "'$msa' route '$attributes' 'who founded MGM Resorts' --where 'tags!=hotel' --json | jq -c '[.documents[].name] | sort'"
expect "ask where" 0 '["s"]' bash -c "'$msa' ask '$attributes' 'when was the Eiffel Tower completed' --where 'year<1889' --json | jq -c '[.documents[].name]'"
expect "ask where nothing is" 0 '[]' bash -c "'$msa' ask '$attributes' 'when was the Eiffel Tower completed' --where 'year=0' --json | jq -c '[.documents[].name]'"
expect "no condition" 2 '"year" is no condition' "$msa" ask "$attributes" "x" --where year
sed 's/"year":1889/"year":1890/' "$work/attributes.jsonl" >"$work/attributes_2.jsonl"
expect "other attributes of a name" 0 "another document named" "$msa" ingest "$attributes" "$work/attributes_2.jsonl"
expect "upsert of attributes" 0 "1 in place of others" "$msa" ingest "$attributes" "$work/attributes_2.jsonl" --upsert
expect "attributes replaced" 0 "[4]  t" "$msa" bank ls "$attributes" --where year=1890
mkfifo "$work/questions"
"$msa" chat "$attributes" <"$work/questions" >"$work/answers" 2>&1 &
chat=$!
exec 8>"$work/questions"
ask_chat() { # ask_chat TEXT: the chat's answer to the same question holds TEXT
  local lines
  lines=$(grep -c ' ms (' "$work/answers")
  echo "when was the Eiffel Tower completed" >&8
  for _ in $(seq 600); do
    [ "$(grep -c ' ms (' "$work/answers")" -gt "$lines" ] && break
    sleep 0.1
  done
  expect "chat: $1" 0 "$1" cat "$work/answers"
}
ask_chat "completed in 1889"
sed -i 's/completed in 1889/completed in 1925/' "$work/attributes_2.jsonl"
expect "upsert beside a chat" 0 "1 in place of others" "$msa" ingest "$attributes" "$work/attributes_2.jsonl" --upsert
ask_chat "completed in 1925"
expect "forget where" 0 "1 documents forgotten" "$msa" forget "$attributes" --where source="$work/attributes_2.jsonl"
expect "forget names and where" 2 "one of both" "$msa" forget "$attributes" m --where year=1986
expect "forget where nothing is" 3 "no such document" "$msa" forget "$attributes" --where year=1
ask_chat "I do not know."
exec 8>&-
wait "$chat"

# A part of a bank is damaged: the rest answers.
echo '{"id":"k","text":"The harbour of Kestrel was built in 1731."}' >"$work/one_more.jsonl"
expect "one more segment" 0 "1 documents" "$msa" ingest "$attributes" "$work/one_more.jsonl"
expect "whole before" 0 "as it was written" "$msa" bank verify "$attributes"
last=$(ls "$attributes/segments" | tail -1)
damage "$attributes/segments/$last" 3000
expect "damaged" 6 "the block of 256 KiB from here is damaged; documents: k" "$msa" bank verify "$attributes"
expect "damage is said" 0 "is damaged in 1 places" "$msa" ask "$attributes" "when was MGM Resorts founded"
expect "the rest answers" 0 '"answer":"1986",' "$msa" ask "$attributes" "when was MGM Resorts founded" --json
expect "what is damaged is not used" 0 '["m","s"]' bash -c "'$msa' ask '$attributes' 'when was the harbour of Kestrel built' --json 2>/dev/null | jq -c '[.documents[].name] | sort'"

# A bank of a key.
key=$work/key
head -c 32 /dev/urandom >"$key"
sealed=$work/sealed
expect "a key that others may read" 2 "chmod 600" "$msa" ingest "$sealed" "$work/change.jsonl" --key-file "$key"
chmod 600 "$key"
expect "encrypted bank" 0 "3 documents" "$msa" ingest "$sealed" "$work/change.jsonl" --key-file "$key"
expect "encrypted upsert" 0 "1 in place of others" "$msa" ingest "$sealed" "$work/changed.jsonl" --upsert --key-file "$key"
expect "encrypted ask" 0 "ms (" "$msa" ask "$sealed" "when was the harbour of Kestrel built" --key-file "$key"
expect "encrypted route" 0 "a" env MSA_KEY_FILE="$key" "$msa" route "$sealed" "when was the harbour of Kestrel built"
expect "without its key" 2 "is encrypted: it needs its key" "$msa" ask "$sealed" "x"
head -c 32 /dev/urandom >"$work/other_key"
chmod 600 "$work/other_key"
expect "with another key" 8 "the key is not that of" "$msa" bank ls "$sealed" --key-file "$work/other_key"
expect "a key for a bank without" 2 "is not encrypted" "$msa" bank ls "$changing" --key-file "$key"
expect "nothing can be read" 1 "" grep -rqE "Kestrel|Xylograph|fingerprint" "$sealed"
expect "encrypted forget" 0 "1 documents forgotten" "$msa" forget "$sealed" b --key-file "$key"
expect "encrypted purge" 0 "segments written anew" "$msa" compact "$sealed" --purge --key-file "$key"
expect "encrypted backup" 0 "holds 2 documents" "$msa" backup "$sealed" "$work/sealed.backup" --key-file "$key"
expect "encrypted restore" 0 "holds 2 documents" "$msa" restore "$work/sealed.backup" "$work/sealed.again" --key-file "$key"
expect "encrypted verify" 0 "as it was written" "$msa" bank verify "$work/sealed.again" --key-file "$key"
expect "export where" 0 '{"id":"c"' "$msa" export "$sealed" --where name=c --key-file "$key"
expect "a tool's key" 2 "a key has 32 to 4096 bytes" env MSA_KEY_FILE="$work/note.txt" bash -c "chmod 600 '$work/note.txt'; '$msa' bank ls '$sealed'"

# A bank that another process writes to.
exec 9>"$bank/LOCK"
flock 9
expect "locked bank" 9 "is being written by process" "$msa" ingest "$bank" "$work/note.txt"
exec 9>&-

# A file that grows too large stands for a full disk; afterwards everything goes on.
expect "full disk" 5 "cannot write" bash -c "trap '' XFSZ; ulimit -f 300; '$msa' ingest '$work/small' '$work/docs.jsonl'"
expect "after a full disk" 0 "30 documents" "$msa" ingest "$work/small" "$work/docs.jsonl"
expect "whole after a full disk" 0 "as it was written" "$msa" bank verify "$work/small"

# A flipped bit is found, named, and not used.
cp -r "$bank" "$work/rotten"
size=$(stat -c %s "$work/rotten/segments/000001.msa")
damage "$work/rotten/segments/000001.msa" $((size / 2))
expect "flipped bit" 6 "000001.msa at byte" "$msa" bank verify "$work/rotten"

# Killed while it writes, then run again: all there, once.
"$msa" ingest "$work/killed" "$source_dir/examples/documents.jsonl" --commit-tokens 2000 >/dev/null 2>&1 &
pid=$!
sleep 1.2
kill -9 $pid
wait $pid 2>/dev/null
expect "resumed after a kill" 0 "documents" "$msa" ingest "$work/killed" "$source_dir/examples/documents.jsonl"
expect "all documents after a kill" 0 '"documents":300' "$msa" bank stat "$work/killed" --json
for _ in $(seq 40); do jq -c --arg n "$RANDOM$RANDOM" '.id += $n' "$source_dir/examples/documents.jsonl"; done >"$work/many.jsonl"
"$msa" ingest "$work/stopped" "$work/many.jsonl" >/dev/null 2>"$work/stopped.log" &
pid=$!
sleep 3
kill -TERM $pid
wait $pid
if [ $? -eq 130 ] && grep -q "run the same command again" "$work/stopped.log"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: SIGTERM"; fi

# Asked to stop while it waits for a line. No signal has a handler (cli/stop_signals.h says why).
mkfifo "$work/lines"
"$msa" chat "$bank" <"$work/lines" >"$work/waiting.log" 2>&1 &
pid=$!
exec 3>"$work/lines"
echo "what is a casino" >&3
until grep -q "ms (" "$work/waiting.log" || ! kill -0 $pid; do sleep 0.1; done
caught=$((0x$(awk '/^SigCgt/ { print $2 }' /proc/$pid/status) & 0x7fffffff))
kill -TERM $pid
wait $pid
status=$?
exec 3>&-
if [ $status -eq 130 ] && [ $caught -eq 0 ]; then
  passed=$((passed + 1))
else
  failed=$((failed + 1))
  echo "FAILED: chat stopped by SIGTERM: exit $status, signals with handlers: $caught"
fi

# Bench: numbers are checked, small ones work, and as many documents are compared as there are.
bench_is_fit() { # bench_is_fit ARGS...: a number outside its range is named, not run
  expect "bench $*" 2 "not in range" "$msa" bench "$@"
}
bench_is_fit route --repeats 0
bench_is_fit route --chunks -5
bench_is_fit route --chunks 0
bench_is_fit route --tokens 0
bench_is_fit route --layers 0
bench_is_fit route --dim 0
bench_is_fit encode --batch 0
bench_is_fit encode --length 0
bench_is_fit decode --length 0
bench_is_fit decode --repeats -1
bench_is_fit answer --chunks 0
bench_is_fit answer --answer 0
bench_is_fit fetch --documents 0
bench_is_fit kernels --tokens 0
bench_is_fit kernels --rows 0
shape=$source_dir/configs/smoke_model.json
bench_is_fit train --shape "$shape" --tokens 1
for recompute in none layers; do
  expect "bench train, $recompute" 0 "\"recompute\":\"$recompute\"" "$msa" bench train --shape "$shape" --device cpu \
    --recompute $recompute --tokens 700 --memory-tokens 500 --questions 3 --readings 1 --repeats 1 --json
done
expect "bench train with too many questions" 2 "4 questions take 224 tokens, and the sequences have 100" \
  "$msa" bench train --shape "$shape" --device cpu --tokens 100 --memory-tokens 500 --questions 4 --readings 0
for type in f32 bf16 int8; do
  expect "bench route $type" 0 '"of":16' "$msa" bench route --type $type --chunks 500 --layers 2 --repeats 1 --json
done
expect "ingest of a file that is not there" 3 "" "$msa" ingest "$work/none.bank" "$work/no_such_file.jsonl" --model "$model" --device cpu
expect "no bank is made without inputs" 1 "" test -e "$work/none.bank"
expect "bench answer" 0 '"stage":"answer"' "$msa" bench answer --model "$model" --device cpu --chunks 700 --content-type f32 --text-tokens 40 --answer 4 --repeats 1 --json
expect "bench answer from int4" 0 '"content":"int4"' "$msa" bench answer --model "$model" --device cpu --chunks 700 --content-type int4 --text-tokens 40 --answer 4 --repeats 1 --json
expect "bench fetch without a GPU" 11 "no GPU: " "$msa" bench fetch --model "$model"
expect "bench kernels without a GPU" 11 "no GPU: " "$msa" bench kernels --model "$model"
expect "bench kernels on a CPU" 2 "measures a GPU" "$msa" bench kernels --model "$model" --device cpu
expect "int8 weights on the CPU" 2 "--weights int8 is of a GPU" \
  "$msa" ask "$bank" hello --weights int8 --device cpu
expect "weights of an unknown type" 2 "--weights" "$msa" ask "$bank" hello --weights int2
expect "bench route on a GPU without the library" 11 "no GPU: " "$msa" bench route --device gpu
expect "bench route with two documents" 0 "2 of 2 documents" "$msa" bench route --chunks 10 --repeats 1
expect "bench decode of few tokens" 0 "tokens/s" "$msa" bench decode --length 4 --repeats 1
expect "bench encode of one token" 0 "tokens/s" "$msa" bench encode --batch 1 --length 1 --repeats 1

# Evaluation: a set among other documents, wrong use, and nothing left behind.
mkdir "$work/set" "$work/tmp"
cp "$source_dir/examples/documents.jsonl" "$work/set/"
head -n 3 "$source_dir/examples/questions.jsonl" >"$work/set/questions.jsonl"
head -n 20 "$work/set/documents.jsonl" | sed 's/"id": *"/"id": "other-/' >"$work/extra.jsonl"
jq -r '.documents[]' "$work/set/questions.jsonl" | sort -u >"$work/gold.txt"
jq -c --rawfile gold "$work/gold.txt" 'select(.id as $id | $gold | split("\n") | index($id))' "$work/set/documents.jsonl" |
  sed 's/"id": *"/"id": "copy-/' >"$work/copies.jsonl"
copies_left=$(jq -s --slurpfile copies "$work/copies.jsonl" 'map(select(.text as $t | $copies | map(.text) | index($t) | not)) | length' "$work/extra.jsonl")
evaluate() { # evaluate NAME CODE TEXT FLAGS...
  local name=$1 code=$2 text=$3
  shift 3
  expect "eval: $name" "$code" "$text" env TMPDIR="$work/tmp" "$msa" eval qa "$work/set" --routing-only "$@"
}
evaluate "without other documents" 0 '"questions":3,"documents":3,' --json
evaluate "among all of a file" 0 '"documents":23,' --extra "$work/extra.jsonl" --json
evaluate "among some of a file" 0 '"documents":8,' --extra "$work/extra.jsonl" --num-extra 5 --json
declining=("$msa" eval qa "$work/set" --extra "$work/extra.jsonl" --without-gold)
expect "eval: without the documents of its questions and their copies" 0 "{\"questions\":3,\"documents\":$copies_left,\"tokens\":" "${declining[@]}" --json
expect "eval: what nothing answers, for people" 0 '"I do not know." to ' "${declining[@]}"
expect "eval: without any question" 2 "no question to ask" "${declining[@]}" --questions 0
expect "eval: declined is what the records say" 0 "same" bash -c 'out=$1 && shift && share=$("$@" --output "$out" --json | jq .declined) &&
  [ "$share" = "$(jq -s "(map(select(.declined)) | length) / length" "$out")" ] && jq -es "all(.[]; has(\"answer_with_gold_text\") | not)" "$out" >/dev/null && echo same' - \
  "$work/declined.jsonl" "${declining[@]}"
evaluate "without anything" 2 "--without-gold requires --extra" --without-gold
evaluate "without gold, and nothing read" 2 "--without-gold excludes --routing-only" --extra "$work/extra.jsonl" --without-gold
expect "eval: nothing but copies" 2 "no document is left" "$msa" eval qa "$work/set" --extra "$work/copies.jsonl" --without-gold
expect "needles are hidden in their documents" 0 "20 needles" python3 "$source_dir/bench/corpus/needles.py" "$work/extra.jsonl" "$work/needles" --count 20
expect "a needle's answer stands in its document alone" 0 "20" bash -c 'jq -r ".answers[0]" "$1/questions.jsonl" | while read -r number; do grep -c "is $number\." "$1/documents.jsonl"; done | grep -c "^1$"' - "$work/needles"
evaluate "progress of ingest" 0 "documents encoded" --json
evaluate "content of another type" 0 "3 questions" --work "$work/eval_int4" --content-type int4
expect "its bank" 0 '"content":"int4"' "$msa" bank stat "$work/eval_int4/bank" --json
evaluate "how many, but not of what" 2 "--num-extra requires --extra" --num-extra 5
evaluate "less than none" 2 "not in range" --extra "$work/extra.jsonl" --num-extra -1
evaluate "no questions" 2 "no question to ask" --questions 0
evaluate "no room for output" 5 "cannot write /dev/full" --output /dev/full
cat "$work/extra.jsonl" "$work/extra.jsonl" >"$work/twice.jsonl"
evaluate "a name twice" 7 'twice.jsonl line 21: the name "other-' --extra "$work/twice.jsonl"
evaluate "kept bank" 0 "3 questions" --work "$work/eval"

# The same bank, asked as it is: the same figures, a record a question.
expect "eval text" 0 '{"documents":5,"tokens":' "$msa" eval text "$source_dir/examples/documents.jsonl" --documents 5 --json
expect "eval text: cut texts, for people" 0 "5 documents" "$msa" eval text "$source_dir/examples/documents.jsonl" --documents 5 --max-tokens 20
expect "eval text: nothing there" 3 "" "$msa" eval text "$work/nowhere.jsonl"
asked=(eval bank "$work/eval/bank" "$work/set/questions.jsonl")
evaluate "as a report" 0 '"questions":3' --work "$work/eval" --output "$work/qa_records.jsonl" --json
expect "eval bank" 0 '"questions":3,"left_out":0,"documents":3,' "$msa" "${asked[@]}" --json
expect "eval bank: routing alone" 0 '"any_layer_at_16":1.0,"ms_per_question"' "$msa" "${asked[@]}" --routing-only --json
expect "eval bank: text" 0 "3 questions, 0 left out; 3 documents" "$msa" "${asked[@]}"
expect "eval bank: records" 0 "" "$msa" "${asked[@]}" --output "$work/records.jsonl"
expect "eval bank: a record has its answer" 0 "true" jq -s 'length == 3 and all(.[]; .answer != "" and .rounds >= 2 and
  (.layers | length) == 4 and .timing_ms.total > 0 and (.documents | length) == 1)' "$work/records.jsonl"
for figure in .routing .layers .any_layer_at_16; do
  expect "eval bank: $figure as eval qa" 0 "same" bash -c 'of_set=$("$1" eval qa "$2/set" --work "$2/eval" --routing-only --json 2>/dev/null | jq -c "$3")
    of_bank=$("$1" eval bank "$2/eval/bank" "$2/set/questions.jsonl" --routing-only --json 2>/dev/null | jq -c "$3")
    [ -n "$of_set" ] && [ "$of_set" = "$of_bank" ] && echo same' - "$msa" "$work" "$figure"
done
expect "eval bank: ranked as eval qa" 0 "same" bash -c '[ -s "$1" ] && [ -s "$2" ] &&
  cmp <(jq -c "[.id, .routed]" "$1") <(jq -c "[.id, [.routed[].name]]" "$2") && echo same' - "$work/qa_records.jsonl" "$work/records.jsonl"
expect "eval bank: compared with itself" 0 "same answer text                    3 of 3" \
  python3 "$source_dir/bench/compare_answers.py" "$work/records.jsonl" "$work/records.jsonl"
sed '1s/"answer":"/&Not /' "$work/records.jsonl" >"$work/other.jsonl"
expect "eval bank: compared with another" 0 "same answer text                    2 of 3" \
  python3 "$source_dir/bench/compare_answers.py" "$work/records.jsonl" "$work/other.jsonl"
expect "a bank of 100 million tokens, in small" 0 "same answer text                    14 of 14" \
  python3 "$source_dir/bench/bank_100m.py" "$msa" "$model" "$work/large" --tokens 62000 --questions 14 --device cpu
expect "the report of that bank" 0 "true" jq '.bank.tokens >= 62000 and .answers.questions == 14 and
  .second_routes.routing.at_16 == .answers.routing.at_16' "$work/large/report.json"
expect "growth of routing" 0 "| int8 | 99,968 | 1,562 |" python3 "$source_dir/bench/growth.py" "$msa" "$work/growth.svg" \
  --device cpu --types int8 --tokens 0.05,0.1 --layers 2 --dim 64 --repeats 1
expect "its plot is XML" 0 "svg" python3 -c 'import sys, xml.dom.minidom as x; print(x.parse(sys.argv[1]).documentElement.tagName)' "$work/growth.svg"
echo '{"id":"none","question":"Who?","documents":["nowhere"]}' >"$work/nowhere.jsonl"
cat "$work/set/questions.jsonl" >>"$work/nowhere.jsonl"
expect "eval bank: documents that are not there" 0 '"questions":3,"left_out":1' "$msa" eval bank "$work/eval/bank" "$work/nowhere.jsonl" --routing-only --json
head -n 1 "$work/nowhere.jsonl" >"$work/none.jsonl"
expect "eval bank: no question" 2 "no question to ask has a document" "$msa" eval bank "$work/eval/bank" "$work/none.jsonl"
expect "eval bank: no time" 0 '"questions":1,' "$msa" "${asked[@]}" --max-seconds 1e-9 --json
expect "eval bank: no bank" 3 "there is no bank" "$msa" eval bank "$work/nothing" "$work/set/questions.jsonl"
expect "eval bank: no room for records" 5 "cannot write /dev/full" "$msa" "${asked[@]}" --output /dev/full

head -n 1 "$source_dir/examples/questions.jsonl" >"$work/set/questions.jsonl"
jq -c '. as $q | range(80) | {id: "copy-\(.)", text: $q.question}' "$work/set/questions.jsonl" >"$work/copies.jsonl"
evaluate "copies of one text take one place" 0 '"at_16":1.0},"named_first"' --extra "$work/copies.jsonl" --json
evaluate "of routing too" 0 '"at_16":1.0},"layers"' --extra "$work/copies.jsonl" --json
sed -i 's/"text": *"/"text": "Other. /' "$work/set/documents.jsonl"
evaluate "bank of another set" 2 "it belongs to another evaluation" --work "$work/eval"
TMPDIR=$work/tmp "$msa" eval qa "$work/set" --extra "$source_dir/examples/documents.jsonl" >/dev/null 2>&1 &
pid=$!
sleep 1.5
kill -INT $pid
wait $pid
status=$?
if [ $status -eq 130 ] && [ -z "$(ls "$work/tmp")" ]; then
  passed=$((passed + 1))
else
  failed=$((failed + 1))
  echo "FAILED: eval stopped by SIGINT: exit $status, left: $(ls "$work/tmp")"
fi

# What is left out is said; zero bytes are shown; JSON and environment as promised.
expect "ls says what it left out" 0 "5 of 30 documents; --offset 15 goes on" "$msa" bank ls "$bank" --offset 10 --limit 5
if [ -z "$("$msa" bank ls "$bank" 2>&1 >/dev/null)" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: ls of all"; fi
expect "ls from below zero" 2 "not in range" "$msa" bank ls "$bank" --offset -1
printf '{"id":"zero","text":"before\\u0000behind"}\n' >"$work/zero.jsonl"
expect "ingest of a zero byte" 0 "1 documents" "$msa" ingest "$work/zero_bank" "$work/zero.jsonl"
expect "a zero byte is shown" 0 "6265666f7265006265686" bash -c "'$msa' bank show '$work/zero_bank' zero | od -An -v -tx1 | tr -d ' \n'"
expect "tokenize as json" 0 '"ids":[' "$msa" tokenize --model "$model" "How many tokens?" --json
expect "info by environment" 3 "/nonexistent" env MSA_MODEL=/nonexistent "$msa" info
expect "bench by environment" 2 "not in range" env MSA_REPEATS=0 "$msa" bench route
for command in ingest ask chat route "bank ls" "eval qa" "eval bank" "eval text" "bench route" "bench encode" "bench decode" "bench tokenize" tokenize info convert questions; do
  # shellcheck disable=SC2086
  lacking=$("$msa" $command --help | grep -E '^  -.*--[a-z-]+ [A-Z]' | grep -vE 'Env:|--(questions|output|jsonl) |^  --[a-z-]+ (Needs|Excludes):')
  if [ -z "$lacking" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $command has flags without a twin: $lacking"; fi
done

# Questions made of documents are a set that can be evaluated.
expect "questions" 0 "20 questions, of the kind cloze" "$msa" questions "$source_dir/examples/documents.jsonl" "$work/made" --kind cloze --count 20
expect "questions onto something" 2 "is there already" "$msa" questions "$source_dir/examples/documents.jsonl" "$work/made"
expect "questions of what is not there" 3 "no_documents.jsonl" "$msa" questions "$work/no_documents.jsonl" "$work/made_of_none"
expect "leave nothing" 0 "nothing" "$BASH" -c 'compgen -G "$1/made_of_none*" || echo nothing' - "$work"
expect "questions of no kind" 2 "--kind" "$msa" questions "$source_dir/examples/documents.jsonl" "$work/made_so" --kind riddle
expect "evaluate them" 0 '"questions":20' "$msa" eval qa "$work/made" --json

# Models of models: shards that answer the same, a plain Qwen3, and routers for it.
answer_of() { "$msa" ask "$bank" "when was MGM Resorts founded" --json --model "$1" | jq -c 'del(.timing_ms, .rounds)'; }
expect "convert into shards" 0 "files; routers in layers [8, 10, 12, 14]" "$msa" convert "$model" "$work/shards" --shard-size 8MB
expect "the shards are named and limited" 0 "ok" python3 -c 'import json, os, sys
folder = sys.argv[1]
index = json.load(open(folder + "/model.safetensors.index.json"))
names = sorted(set(index["weight_map"].values()))
assert names == ["model-%05d-of-%05d.safetensors" % (i + 1, len(names)) for i in range(len(names))] and len(names) > 3, names
assert all(os.path.getsize(folder + "/" + name) < 8e6 + 10000 for name in names)
print("ok")' "$work/shards"
expect "shards answer as one file does" 0 "" test "$(answer_of "$model")" = "$(answer_of "$work/shards")" -a -n "$(answer_of "$model")"
expect "shards become one file again" 0 '"files":1,' "$msa" convert "$work/shards" "$work/whole" --json
expect "which answers the same" 0 "" test "$(answer_of "$model")" = "$(answer_of "$work/whole")"
expect "convert to float32" 0 '"types":"F32"' "$msa" convert "$model" "$work/wide" --dtype f32 --json
expect "and back" 0 '"types":"BF16"' "$msa" convert "$work/wide" "$work/narrow" --dtype bf16 --json
expect "without loss" 0 "" cmp "$work/narrow/model.safetensors" <("$msa" convert "$model" "$work/again" --dtype bf16 >/dev/null && cat "$work/again/model.safetensors")
expect "convert to int8" 0 '"types":"BF16, I8"' "$msa" convert "$model" "$work/int8_model" --dtype int8 --json
expect "its config says so" 0 "int-quantized" jq -r .quantization_config.format "$work/int8_model/config.json"
expect "its card too" 0 "| rounded to int8 | " cat "$work/int8_model/README.md"
expect "its products in float32" 0 '"types":"F32"' "$msa" convert "$work/int8_model" "$work/int8_wide" --dtype f32 --json
expect "give the same int8" 0 "" cmp "$work/int8_model/model.safetensors" <("$msa" convert "$work/int8_wide" "$work/int8_again" --dtype int8 >/dev/null && cat "$work/int8_again/model.safetensors")
route_of() { "$msa" ingest "$work/bank_of_$(basename "$1")" "$work/few.jsonl" --model "$1" >/dev/null 2>&1 && "$msa" route "$work/bank_of_$(basename "$1")" "what is a casino" --json --model "$1" | jq -c .layers; }
expect "and the same routing" 0 "" test "$(route_of "$work/int8_model")" = "$(route_of "$work/int8_wide")" -a -n "$(route_of "$work/int8_model")"
expect "a bank tells them apart" 8 "model_fingerprint" "$msa" route "$work/bank_of_int8_model" "what is a casino" --model "$work/int8_wide"
expect "convert to a plain Qwen3" 0 '"router_layers":[],"fresh_routers":false' "$msa" convert "$model" "$work/qwen3" --form qwen3 --json
expect "its config" 0 "true" jq '.model_type == "qwen3" and .architectures == ["Qwen3ForCausalLM"] and has("msa_config") == false' "$work/qwen3/config.json"
expect "routers for it" 0 "fresh routers in layers [8, 9, 10, 11, 12, 13, 14, 15]" "$msa" convert "$work/qwen3" "$work/fresh" --chunk-tokens 16
expect "they are a model" 0 '"router_layers":[8,9,10,11,12,13,14,15],"chunk_tokens":16,"top_k":16' "$msa" info "$work/fresh" --json
expect "they route" 0 '"layers":[{"layer":8' bash -c "'$msa' ingest '$work/fresh_bank' '$work/few.jsonl' --model '$work/fresh' >/dev/null 2>&1 && '$msa' route '$work/fresh_bank' 'what is a casino' --json --model '$work/fresh'"
sed "s|^config = .*|from = \"$work/fresh\"|; /^tokenizer = /d" "$source_dir/configs/smoke.toml" >"$work/train.toml"
head -n 1 "$source_dir/examples/questions.jsonl" | jq -r .id >"$work/held_back.txt"
expect "msa train takes them" 0 "parameters     29.90 million" "$msa" train "$work/train.toml" --dry-run --set "run.output=$work/run" \
  --set "data.cache=$work/train_cache" --set "data.held_back=$work/held_back.txt" \
  --set "data.source.0.documents=$source_dir/examples/documents.jsonl" --set "data.source.0.questions=$source_dir/examples/questions.jsonl"
printf -- '---\nlicense: cc-by-sa-4.0\n---\n# A card\n\n## Quality\n' >"$work/card.md"
expect "two layers more" 0 '"router_layers":[9,11,13,15],"fresh_routers":false' "$msa" convert "$model" "$work/deep" --expand-every 8 --json
expect "a deeper model begins as the old one" 0 "same" "$BASH" -c '
  [ "$("$1" eval text "$3" --model "$2" --documents 3 --json | jq .nats_per_token)" = "$("$1" eval text "$3" --model "$4" --documents 3 --json | jq .nats_per_token)" ] && echo same' \
  - "$msa" "$model" "$source_dir/examples/documents.jsonl" "$work/deep"
expect "convert with a card" 0 "1 file" "$msa" convert "$model" "$work/carded" --card "$work/card.md"
expect "the card says what it was given" 0 "license: cc-by-sa-4.0" head -n 3 "$work/carded/README.md"
expect "and the model's shape" 0 "| router layers | 8, 10, 12, 14 |" cat "$work/carded/README.md"

# What cannot be converted is refused, and leaves nothing.
ls "$work" >"$work.names"
expect "convert onto something" 2 "shards is there" "$msa" convert "$model" "$work/shards"
expect "convert without a config" 3 "config.json" "$msa" convert "$work/noconfig" "$work/refused"
expect "convert cut weights" 7 "model.safetensors" "$msa" convert "$work/cut" "$work/refused"
expect "convert wrong shapes" 7 "must have the shape [1000, 384]" "$msa" convert "$work/shape" "$work/refused"
expect "convert NaN" 7 "not finite" "$msa" convert "$work/nan" "$work/refused"
expect "convert what has routers" 2 "has its own in config.json" "$msa" convert "$model" "$work/refused" --top-k 4
expect "routers nowhere" 2 "below 16, got 17" "$msa" convert "$work/qwen3" "$work/refused" --router-layers 4,17
expect "routers of no number" 2 "--router-layers" "$msa" convert "$work/qwen3" "$work/refused" --router-layers four
expect "copies behind too many layers" 2 "behind every 1 to 16 layers" "$msa" convert "$model" "$work/refused" --expand-every 17
expect "no such numbers" 2 "--dtype" "$msa" convert "$model" "$work/refused" --dtype int4
expect "a shard without room" 2 "a shard must have room" "$msa" convert "$model" "$work/refused" --shard-size 0
printf -- '---\na: b\n' >"$work/card.md"
expect "a header without end" 7 "has no end" "$msa" convert "$model" "$work/refused" --card "$work/card.md"
expect "a card from a pipe" 2 "is empty" "$msa" convert "$model" "$work/refused" --card <(echo text)
expect "convert as json" 3 '"code":"not_found"' "$msa" convert "$work/nothing" "$work/refused" --json
expect "convert onto a full disk" 5 "cannot write" bash -c "trap '' XFSZ; ulimit -f 20000; '$msa' convert '$model' '$work/refused'"
expect "tensors of no layer" 7 "belongs to no layer" "$msa" convert "$work/plain" "$work/refused" --router-layers 7
rm -f "$work/shards/model-00002"*
expect "a shard that is missing" 3 "model-00002" "$msa" convert "$work/shards" "$work/refused"
expect "refusals leave nothing" 0 "" diff "$work.names" <(ls "$work")
rm "$work.names"

# Threads that wait sleep, unless the user says otherwise; libtorch's threads are the program's.
spin_counts() { # spin_counts [NAME=VALUE]: what OpenMP says of itself, of every copy in the process
  env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT OMP_DISPLAY_ENV=verbose "$@" "$msa" --version 2>&1 | grep SPINCOUNT | sort -u | xargs
}
expect "threads that wait sleep" 0 "GOMP_SPINCOUNT = 0" spin_counts
expect "or do as the user says" 0 "" test "$(spin_counts OMP_WAIT_POLICY=active)" = "GOMP_SPINCOUNT = 30000000000"
expect "or spin as often" 0 "" test "$(spin_counts GOMP_SPINCOUNT=77)" = "GOMP_SPINCOUNT = 77"
expect "libtorch calls the program's OpenMP" 0 "[0] calls of another" bash -c "LD_BIND_NOW=1 LD_DEBUG=bindings '$msa' --version 2>&1 |
  grep -E ' to .*libgomp.*(GOMP|omp)_' | grep -cv 'file [^ ]*libgomp' | sed 's/.*/[&] calls of another/'"

# Completion knows the flags of commands within commands.
complete_words() { # complete_words WORD...: what bash would offer for the last of the words
  bash -c 'source <("$1" completion bash); shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _msa; echo "${COMPREPLY[*]}"' bash "$msa" "$@"
}
expect "completion of commands" 0 "ingest" complete_words msa in
expect "completion of other names" 0 "import" complete_words msa imp
expect "completion of parts" 0 "ls" complete_words msa bank l
expect "completion within bank" 0 "--offset" complete_words msa bank ls --o
expect "completion within eval" 0 "--num-extra" complete_words msa eval qa some/folder --num
expect "completion within convert" 0 "--shard-size" complete_words msa convert a b --sh
expect "completion within bench" 0 "--tokens" complete_words msa bench route --to
expect "completion for fish" 0 "complete -c msa -n '__msa_at bank ls' -l offset -r -d " "$msa" completion fish

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
