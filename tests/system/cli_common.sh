# What the tests of the program share: source it with MSA SOURCE_DIR as arguments; the test ends with `finish`.
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

finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}

# Models that nothing takes: cut and shape and nan and noconfig are broken, plain has no routers.
make_bad_models() {
  copy_model cut && truncate -s -100 "$work/cut/model.safetensors"
  copy_model shape && sed -i 's/"intermediate_size": 1024/"intermediate_size": 1000/' "$work/shape/config.json"
  copy_model nan && python3 -c 'import json, sys
with open(sys.argv[1], "r+b") as file:
    length = int.from_bytes(file.read(8), "little")
    norm = json.loads(file.read(length))["model.norm.weight"]
    file.seek(8 + length + norm["data_offsets"][0])
    file.write(b"\xff" * 4)' "$work/nan/model.safetensors"
  copy_model noconfig && rm "$work/noconfig/config.json"
  copy_model plain && jq 'del(.msa_config) | .model_type = "qwen3"' "$model/config.json" >"$work/plain/config.json"
}

head -n 30 "$source_dir/examples/documents.jsonl" >"$work/docs.jsonl"
head -n 8 "$work/docs.jsonl" >"$work/few.jsonl"
printf 'fine' >"$work/note.txt"
bank=$work/bank # of docs.jsonl, once make_bank has run
make_bank() { expect "the bank" 0 "30 documents" "$msa" ingest "$bank" "$work/docs.jsonl"; }
