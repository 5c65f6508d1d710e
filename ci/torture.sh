#!/usr/bin/env bash
# Two processes under load, one killed or stopped at any moment and at every step of ring and handshake; the
# first argument is how many rounds (320 unless told). Ends with one line on what came of them.
source "$(dirname "$0")/common.sh"

export MEMRING_ROUNDS=${1:-320}
# A target folder of its own: the flag would rebuild everything else otherwise.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/steps"
export RUSTFLAGS="--cfg memring_steps ${RUSTFLAGS:-}"
# Half the time that the build takes.
export CARGO_PROFILE_DEV_DEBUG=0

step build cargo test --quiet --locked -p memring-attacks --test torture --no-run
step torture cargo test --quiet --locked -p memring-attacks --test torture -- --nocapture
