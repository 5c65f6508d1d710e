#!/usr/bin/env bash
# The README's test command, and how many tests were skipped, with the reasons.
source "$(dirname "$0")/common.sh"

# Most tests wait for other processes, and not for a processor.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-4}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
# Tests print `skipped: why` where the machine lacks what they need; libtest shows it only on request.
cargo test --workspace --locked -- --show-output >"$log" 2>&1 || status=$?
if [ "$status" -ne 0 ]; then
  cat "$log"
  exit "$status"
fi
grep -E '^(test result:|     Running|   Doc-tests)' "$log"
echo "skipped tests: $(grep -c 'skipped: ' "$log" || true)"
grep -o 'skipped: .*' "$log" | sort | uniq -c || true
