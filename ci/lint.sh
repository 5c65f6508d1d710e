#!/usr/bin/env bash
# Format, lints and documentation, all as errors; how many crates a plain memring pulls, and the attacker.
source "$(dirname "$0")/common.sh"

crates() {
  local most=32 count
  count=$(cargo tree -p memring -e normal --prefix none --locked | awk '{print $1, $2}' | sort -u | wc -l)
  echo "a plain memring pulls $count crates, itself included; at most $most are allowed"
  [ "$count" -le "$most" ]
}

# The attacker is a second implementation: it shares no line with the first.
attacker() {
  local names
  names=$(cargo tree -p memring-attacks -e normal --prefix none --locked | awk '{print $1}' | sort -u | xargs)
  echo "the attacker is made of: $names"
  [ "$names" = "libc memring-attacks" ]
}

step format cargo fmt --all --check
step "format of fuzz" cargo fmt --manifest-path fuzz/Cargo.toml --check
step clippy cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
step "clippy of the models" env RUSTFLAGS="--cfg memring_loom" CARGO_TARGET_DIR=target/loom \
  cargo clippy -p memring-ring -p memring-loom-tests --lib --bins --locked -- -D warnings
step "clippy of the scripted ring" env RUSTFLAGS="--cfg memring_scripted" CARGO_TARGET_DIR=target/scripted \
  cargo clippy -p memring-ring -p memring-fuzz-bodies --no-default-features --lib --locked -- -D warnings
# With tests all are on, and packaging builds none.
for format in json cbor postcard rpc zerocopy; do
  step "$format alone" cargo check --quiet -p memring --features "$format" --locked
done
step docs env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --exclude memring-cli --no-deps --all-features --locked
step "crate count" crates
step "tests that pages name" ci/names.sh
step "the attacker stands alone" attacker
