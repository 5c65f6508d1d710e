#!/usr/bin/env bash
# Fuzzes each target for some seconds (the first argument, 20 unless told), two at a time, under the address
# sanitizer, from the seeds in git and whatever fuzz/corpus has kept; then all of it runs once more without
# luck, and the seeds without a fuzzer.
source "$(dirname "$0")/common.sh"

seconds=${1:-20}
# Side by side: each keeps one processor busy.
pairs=("control handshake" "lane segment" "archive formats" "loads calls" "attachments table")
# cargo-fuzz asks for a sanitizer, which stable compilers have but hide.
export RUSTC_BOOTSTRAP=1

install() {
  cargo fuzz --version 2>/dev/null || cargo install --locked cargo-fuzz
}

# A ring whose loads are scripted, in a target folder of its own: the flag would rebuild everything else.
scripted() {
  RUSTFLAGS="--cfg memring_scripted ${RUSTFLAGS:-}" "$@"
}

build() {
  cargo fuzz build
  scripted cargo fuzz build --no-default-features --features scripted --target-dir fuzz/target/scripted loads
}

run() {
  if [ "$1" = loads ]; then
    scripted cargo fuzz run --no-default-features --features scripted --target-dir fuzz/target/scripted "$@"
  else
    cargo fuzz run "$@"
  fi
}

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

fuzz() {
  local target=$1 status=0
  shift
  mkdir -p "fuzz/corpus/$target"
  # New finds go to the first folder; the seeds are only read.
  run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_len=8300 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 "$@" >"$logs/$target" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    cat "$logs/$target"
    return "$status"
  fi
  echo "-- $target"
  grep -aE '^(stat::|Done)|INITED' "$logs/$target"
}

# The targets of a pair at once; fails if one does.
both() {
  local pair=$1 target started status=0 running=()
  shift
  for target in $pair; do
    fuzz "$target" "$@" &
    running+=($!)
  done
  for started in "${running[@]}"; do
    wait "$started" || status=$?
  done
  return "$status"
}

step install install
step build build
for pair in "${pairs[@]}"; do
  step "fuzz $pair for $seconds s" both "$pair" -max_total_time="$seconds"
  # As it stands now, each input once: what fails here fails without luck.
  step "replay $pair" both "$pair" -runs=0
done
unset RUSTC_BOOTSTRAP
# Without `maps` they are run by the workspace's tests.
step "seeds and codec with maps" cargo test --quiet -p memring-codec -p memring-fuzz-bodies \
  --features memring-codec/maps,memring-fuzz-bodies/maps
step "seeds of the scripted ring" scripted env CARGO_TARGET_DIR=target/scripted \
  cargo test --quiet -p memring-fuzz-bodies --no-default-features
