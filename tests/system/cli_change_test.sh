#!/usr/bin/env bash
# The program as its users meet it: banks that change, are copied, damaged, encrypted, locked, killed. usage: SCRIPT MSA SOURCE_DIR
source "$(dirname "$0")/cli_common.sh"

make_bank

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

finish
