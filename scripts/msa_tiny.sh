#!/usr/bin/env bash
# The embedded model from nothing: four runs, an hour of steps on one H200. MSA: the program to use. Needs data/ as configs/msa_tiny.toml says.
set -euo pipefail
cd "$(dirname "$0")/.."
msa=${MSA:-build/cuda/msa}

"$msa" train configs/msa_tiny.toml
"$msa" train configs/msa_tiny_more.toml
"$msa" convert build/msa-tiny-more/model build/msa-tiny-expanded --expand-every 1
"$msa" train configs/msa_tiny_deep.toml
"$msa" train configs/msa_tiny_dropout.toml
"$msa" convert build/msa-tiny-dropout/model build/msa-tiny-int8 --dtype int8 --card models/msa-tiny/README.md
