#!/usr/bin/env bash
# The embedded model from nothing: six runs, an hour and a half of steps on one H200. MSA: the program to use. Needs data/ as configs/msa_tiny.toml says.
set -euo pipefail
cd "$(dirname "$0")/.."
msa=${MSA:-build/cuda/msa}

"$msa" train configs/msa_tiny.toml
"$msa" train configs/msa_tiny_more.toml
"$msa" convert build/msa-tiny-more/model build/msa-tiny-expanded --expand-every 1
"$msa" train configs/msa_tiny_deep.toml

# From here on each run begins with int8 weights.
to_int8() { "$msa" convert "build/$1/model" "build/$1-int8" --dtype int8; }
to_int8 msa-tiny-deep
"$msa" train configs/msa_tiny_dropout.toml
to_int8 msa-tiny-dropout
# Chunks of 8 tokens.
jq '.msa_config.pooling_kernel_size = 8' build/msa-tiny-dropout-int8/config.json >build/config.json
mv build/config.json build/msa-tiny-dropout-int8/config.json
"$msa" train configs/msa_tiny_chunks.toml
to_int8 msa-tiny-chunks
"$msa" train configs/msa_tiny_chunks.toml --set run.seed=2 --set run.output=../build/msa-tiny-last \
  --set model.from=../build/msa-tiny-chunks-int8 --set phase.0.stop.seconds=1050
"$msa" convert build/msa-tiny-last/model build/msa-tiny-int8 --dtype int8 --card models/msa-tiny/README.md
