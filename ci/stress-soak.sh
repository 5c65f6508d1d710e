#!/bin/sh
# Two processes race publishes against sleeps: with the membarrier pair no wake may be lost, and without
# its heavy half some must be. A soak and no part of CI: how soon the mutant fails depends on where the
# processors sit. The first argument is how many seconds each may take.
set -eu
cd "$(dirname "$0")/.."
seconds="${1:-600}"
target="${CARGO_TARGET_DIR:-target}"

CARGO_TARGET_DIR="$target" cargo build --quiet --release -p memring-loom-tests --bin stress
CARGO_TARGET_DIR="$target/stress-mutant" RUSTFLAGS="--cfg memring_stress_mutant" \
    cargo build --quiet --release -p memring-loom-tests --bin stress

echo "the mutant, which must lose a wake:"
"$target/stress-mutant/release/stress" --seconds "$seconds" --until-lost
echo "the pair, which must lose none:"
"$target/release/stress" --seconds "$seconds"
