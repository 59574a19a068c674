#!/usr/bin/env bash
# The embedded model from nothing: six runs, an hour and a half of steps on one H200. MSA: the program to use. Needs data/ as configs/msa_tiny.toml says.
set -euo pipefail
cd "$(dirname "$0")/.."
msa=${MSA:-build/cuda/msa}

"$msa" train configs/msa_tiny.toml
"$msa" train configs/msa_tiny_more.toml
"$msa" convert build/msa-tiny-more/model build/msa-tiny-expanded --expand-every 1
"$msa" train configs/msa_tiny_deep.toml
"$msa" train configs/msa_tiny_dropout.toml

# Chunks of 8 tokens from here on.
rm -rf build/msa-tiny-8 && mkdir -p build/msa-tiny-8
cp -r build/msa-tiny-dropout/model build/msa-tiny-8/model
jq '.msa_config.pooling_kernel_size = 8' build/msa-tiny-dropout/model/config.json >build/msa-tiny-8/model/config.json
"$msa" train configs/msa_tiny_chunks.toml
"$msa" train configs/msa_tiny_chunks.toml --set run.seed=2 --set run.output=../build/msa-tiny-last \
  --set model.from=../build/msa-tiny-chunks/model --set phase.0.stop.seconds=1050
"$msa" convert build/msa-tiny-last/model build/msa-tiny-int8 --dtype int8 --card models/msa-tiny/README.md
