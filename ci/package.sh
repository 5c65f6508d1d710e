#!/usr/bin/env bash
# Every crate that is published can be packaged, and builds from its package.
source "$(dirname "$0")/common.sh"

# Those with `publish = false` are for this repository only.
mapfile -t kept < <(git grep -l '^publish = false' -- '*Cargo.toml' ':!fuzz/Cargo.toml' |
  xargs awk -F'"' '/^name = / { print "--exclude"; print $2; nextfile }')
# A run that was cut short leaves unpacked crates behind, in the folder of a registry without a name, which the next run
# would take for its own: the version is the same.
rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/memring{,-*}-[0-9]*
step package cargo package --workspace --locked "${kept[@]}" "$@"
