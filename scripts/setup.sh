#!/usr/bin/env bash
# Installs what is needed on Debian 12 and builds the release preset. Safe to run again: what is there is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build ccache pkg-config git ca-certificates python3 python3-pip unzip clang-format
  libcli11-dev libutf8proc-dev libxxhash-dev libsqlite3-dev nlohmann-json3-dev libzstd-dev liburing-dev libtomlplusplus-dev
  librapidcheck-dev libgtest-dev libgmock-dev libbenchmark-dev libomp-14-dev libssl-dev zstd jq clang libclang-rt-14-dev)
torch_version=2.11.0
tidy_version=23.1.4  # Debian's walks through all system headers and takes four times as long
export MSA_TORCH_DIR="${MSA_TORCH_DIR:-$HOME/.cache/msa/torch-$torch_version}"

step() { # step NAME COMMAND...: runs it and says how long it took
  local name=$1 start=$SECONDS
  shift
  "$@"
  echo "setup: $name: $((SECONDS - start)) s"
}

quietly() { # quietly LOG COMMAND...: shows the output of a command that fails
  local log=$1
  shift
  "$@" >"$log" 2>&1 || { cat "$log"; exit 1; }
}

install_packages() {
  local missing=() as_root=()
  for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# install_wheel NAME VERSION FOLDER PATHS...: parts of a wheel, unpacked once outside the checkout, so that a second checkout finds them.
# No Python is needed afterwards.
install_wheel() {
  local name=$1 version=$2 target=$3 folder
  shift 3
  [ -e "$target/.complete" ] && return
  mkdir -p "$(dirname "$target")"
  folder=$(mktemp -d "$target.XXXXXX")
  python3 -m pip download "$name==$version" --no-deps --quiet --only-binary=:all: \
    --python-version 3.11 --platform manylinux_2_28_x86_64 --dest "$folder"
  unzip -q "$folder"/*.whl "$@" -d "$folder/unpacked"
  local unpacked=("$folder"/unpacked/*)
  touch "${unpacked[0]}/.complete"
  rm -rf "$target"
  mv "${unpacked[0]}" "$target"
  rm -rf "$folder"
}

build() {
  mkdir -p build
  quietly build/configure.log cmake --preset release -DMSA_TORCH_DIR="$MSA_TORCH_DIR"
  quietly build/build.log cmake --build --preset release
}

step "Debian packages" install_packages
step "torch $torch_version" install_wheel torch "$torch_version" "$MSA_TORCH_DIR" 'torch/lib/*' 'torch/include/*'
step "clang-tidy $tidy_version" install_wheel clang-tidy "$tidy_version" "$HOME/.cache/msa/clang-tidy-$tidy_version" \
  clang_tidy/data/bin/clang-tidy 'clang_tidy/data/lib/*'
step "build" build
