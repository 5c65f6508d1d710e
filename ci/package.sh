#!/usr/bin/env bash
# Every crate that is published can be packaged, and builds from its package.
source "$(dirname "$0")/common.sh"

# Those with `publish = false` are for this repository only.
mapfile -t kept < <(git grep -l '^publish = false' -- '*Cargo.toml' ':!fuzz/Cargo.toml' |
  xargs awk -F'"' '/^name = / { print "--exclude"; print $2; nextfile }')
step package cargo package --workspace --locked "${kept[@]}" "$@"
