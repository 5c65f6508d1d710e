#!/usr/bin/env bash
# All tests of ring, codec, transport and memring that a sanitizer can run, under the address and leak
# sanitizers. A soak and no part of CI, where the fuzz targets run under the same sanitizer.
# Not the thread sanitizer: it knows no fences, so it calls every publish of the ring a race. What it would
# look for there the models of loom-tests explore.
source "$(dirname "$0")/common.sh"

# Compilers of the stable channel have sanitizers but hide them.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address"
export CARGO_TARGET_DIR="$PWD/target/sanitize"
host=$(rustc -vV | sed -n 's/^host: //p')

sanitized() {
  cargo test --quiet --locked --target "$host" "$@"
}

# Left out of codec: its `ui` tests, which compile programs and run none of ours.
step ring sanitized -p memring-ring --lib --tests
tests=$(basename -s .rs codec/tests/*.rs | grep -vx ui | sed 's/^/--test=/')
# shellcheck disable=SC2086 # each is a word of its own
step codec sanitized -p memring-codec --lib $tests
# Left out of these two: limits on address space, which the sanitizer itself does not survive.
step transport sanitized -p memring-transport --lib --tests -- --skip what_waited_for_want_of_a_thread
step memring sanitized -p memring --lib --tests -- --skip attack_79_limits_of_the_process_are_typed_errors
