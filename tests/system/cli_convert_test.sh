#!/usr/bin/env bash
# The program as its users meet it: models of other forms and types, and what cannot be one. usage: SCRIPT MSA SOURCE_DIR
source "$(dirname "$0")/cli_common.sh"

make_bank
make_bad_models

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

finish
