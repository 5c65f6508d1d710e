#!/bin/sh
# Explores every model of the ring and every mutant, which must fail, up to three preemptions.
# Arguments go to the runner: --list, --only NAME, --bound N (see --help).
set -eu
cd "$(dirname "$0")/.."
# A target folder of its own: the flag would rebuild everything else otherwise.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
export RUSTFLAGS="--cfg memring_loom ${RUSTFLAGS:-}"
exec cargo run --quiet --release -p memring-loom-tests --bin models -- "$@"
