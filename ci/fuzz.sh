#!/usr/bin/env bash
# Fuzzes each target for some seconds (the first argument, 20 unless told), under the address sanitizer,
# from the seeds in git and whatever fuzz/corpus has kept; then all of it runs once more without a fuzzer.
source "$(dirname "$0")/common.sh"

seconds=${1:-20}
targets=(control handshake lane archive)
# cargo-fuzz asks for a sanitizer, which stable compilers have but hide.
export RUSTC_BOOTSTRAP=1

install() {
  cargo fuzz --version 2>/dev/null || cargo install --locked cargo-fuzz
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

fuzz() {
  local target=$1 status=0
  shift
  mkdir -p "fuzz/corpus/$target"
  # New finds go to the first folder; the seeds are only read.
  cargo fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_len=8300 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 "$@" >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    cat "$log"
    return "$status"
  fi
  grep -E '^(stat::|Done)|INITED' "$log"
}

step install install
step build cargo fuzz build
for target in "${targets[@]}"; do
  step "fuzz $target for $seconds s" fuzz "$target" -max_total_time="$seconds"
  # As it stands now, each input once: what fails here fails without luck.
  step "replay $target" fuzz "$target" -runs=0
done
unset RUSTC_BOOTSTRAP
step "seeds without a fuzzer" cargo test --quiet -p memring-fuzz-bodies
