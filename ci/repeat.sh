#!/usr/bin/env bash
# The process tests again and again (the first argument, 20 times unless told), while other work keeps both
# processors busy: what fails once in a hundred runs fails here. A soak and no part of CI.
source "$(dirname "$0")/common.sh"

times=${1:-20}
tests=(-p memring -p memring-transport -p memring-attacks --lib --tests --bins --locked)
log=$(mktemp)
burners=()
trap 'kill "${burners[@]}" 2>/dev/null || true; rm -f "$log"' EXIT

step build cargo test --quiet "${tests[@]}" --no-run
for _ in 1 2; do
  sh -c 'while :; do :; done' &
  burners+=($!)
done
passed=0
for ((run = 1; run <= times; run++)); do
  began=$SECONDS
  if ! cargo test "${tests[@]}" -- --show-output >"$log" 2>&1; then
    cat "$log"
    echo "run $run of $times failed after $passed passed tests"
    exit 1
  fi
  count=$(awk '/^test result:/ { passed += $4 } END { print passed }' "$log")
  passed=$((passed + count))
  echo "run $run of $times: $count tests passed in $((SECONDS - began)) s"
done
echo "$times runs, $passed tests passed, none failed"
