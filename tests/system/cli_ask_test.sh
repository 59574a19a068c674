#!/usr/bin/env bash
# The program as its users meet it: documents in, questions out, good and bad input. usage: SCRIPT MSA SOURCE_DIR
source "$(dirname "$0")/cli_common.sh"

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
printf 'broken \xc3\x28' >"$work/broken.md"
for wanted in "bad.jsonl:2: not UTF-8 at byte" "bad.jsonl:3: the text is empty" 'bad.jsonl:4: the line: the key "text" is missing' \
  "bad.jsonl:5: the line: not JSON" 'bad.jsonl:6: the name "one" came before' "broken.md:1: not UTF-8" "2 documents in"; do
  rm -rf "$work/bad_bank"
  expect "bad documents: $wanted" 0 "$wanted" "$msa" ingest "$work/bad_bank" "$work/bad.jsonl" "$work/note.txt" "$work/broken.md"
done

# Bad models.
make_bad_models
expect "truncated weights" 7 "model.safetensors" "$msa" info "$work/cut"
expect "wrong shape" 7 "must have the shape [1000, 384]" "$msa" info "$work/shape"
expect "NaN" 7 "not finite" "$msa" info "$work/nan"
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
expect "a model without routers" 2 "no router layers" "$msa" ingest "$work/no_bank" "$work/note.txt" --model "$work/plain"
expect "a long title" 0 "1 documents" bash -c "jq -n '{id: \"t\", title: (\"word \" * 20000), text: (\"Some text. \" * 2000)}' >'$work/title.json' && jq -c . '$work/title.json' >'$work/title.jsonl' && timeout 60 '$msa' ingest '$work/title_bank' '$work/title.jsonl'"
copy_model other && printf '\x01' | dd of="$work/other/model.safetensors" bs=1 seek=20000000 conv=notrunc status=none
expect "bank of another model" 8 "model_fingerprint" "$msa" ask "$bank" "x" --model "$work/other"
expect "ingest with another model" 8 "model_fingerprint" "$msa" ingest "$bank" "$work/note.txt" --model "$work/other"

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

finish
