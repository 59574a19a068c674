#!/usr/bin/env bash
# The program as its users meet it: bench, evaluation and the questions that it asks. usage: SCRIPT MSA SOURCE_DIR
source "$(dirname "$0")/cli_common.sh"

make_bank

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

# Questions made of documents are a set that can be evaluated.
expect "questions" 0 "20 questions, of the kind cloze" "$msa" questions "$source_dir/examples/documents.jsonl" "$work/made" --kind cloze --count 20
expect "questions onto something" 2 "is there already" "$msa" questions "$source_dir/examples/documents.jsonl" "$work/made"
expect "questions of what is not there" 3 "no_documents.jsonl" "$msa" questions "$work/no_documents.jsonl" "$work/made_of_none"
expect "leave nothing" 0 "nothing" "$BASH" -c 'compgen -G "$1/made_of_none*" || echo nothing' - "$work"
expect "questions of no kind" 2 "--kind" "$msa" questions "$source_dir/examples/documents.jsonl" "$work/made_so" --kind riddle
expect "evaluate them" 0 '"questions":20' "$msa" eval qa "$work/made" --json

finish
