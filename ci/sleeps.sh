#!/usr/bin/env bash
# Two processes put each other to sleep in event loops a million times, and no wake is lost. A soak, and no part of CI,
# whose tests do ten thousand. MEMRING_SLEEPS says another number.
source "$(dirname "$0")/common.sh"

export MEMRING_SLEEPS="${MEMRING_SLEEPS:-1000000}"
step "$MEMRING_SLEEPS sleeps" \
  cargo test --quiet --locked --release -p memring --test polled no_wake_is_lost -- --nocapture
