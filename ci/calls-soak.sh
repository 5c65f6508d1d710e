#!/usr/bin/env bash
# A million random calls, streams, cancels, deadlines and disconnects against a model, and what became of them. A soak, and no
# part of CI, whose tests do twenty thousand. MEMRING_CALLS says another number.
source "$(dirname "$0")/common.sh"

export MEMRING_CALLS="${MEMRING_CALLS:-1000000}"
step "$MEMRING_CALLS operations" \
  cargo test --quiet --locked --release -p memring --test calls_model no_call -- --nocapture
