#!/usr/bin/env bash
# Which rows of the list of attacks have tests, from the tests' names: attack_NN_what. A row has a test, or
# docs/SECURITY.md says in its table of rows without one why not; at least 78 of the 90 have. With --run it
# runs them too, and shows the p99 of the bystanders.
source "$(dirname "$0")/common.sh"

log=$(mktemp)
trap 'rm -f "$log"' EXIT

run() {
  if ! cargo test --workspace --locked attack_ -- --show-output >"$log" 2>&1; then
    cat "$log"
    return 1
  fi
  grep -E '^test result:' "$log" | awk '{ n += $4 } END { print n " tests passed" }'
  echo "skipped: $(grep -c 'skipped: ' "$log" || true)"
  for way in threads hub; do
    echo "served by $way: $(grep -c "recorded: .*: by $way: " "$log" || true)"
  done
  grep -o 'recorded: .*' "$log" | sort -u || true
}

table() {
  cargo test --workspace --locked attack_ -- --list 2>/dev/null |
    sed -n 's/^\(.*::\)\{0,1\}\(attack_[0-9][0-9]_.*\): test$/\2/p' | sort -u >"$log"
  awk -v security=docs/SECURITY.md '
    {
      name = $0; rest = substr(name, 8); what = rest
      for (more = 1; more;) {
        row = substr(rest, 1, 2) + 0
        tests[row]++; all[row] = all[row] "\n    " name
        rest = substr(rest, 4)
        more = sub(/^and_/, "", rest)
      }
    }
    END {
      while ((getline line < security) > 0)
        if (match(line, /^\| [0-9]+ \| not tried: /)) { split(line, cell, "|"); reason[cell[2] + 0] = cell[3] }
      for (row = 1; row <= 90; row++) {
        if (tests[row]) { covered++; print row ": " tests[row] all[row] }
        else if (row in reason) print row ":" reason[row]
        else { print row ": NO TEST AND NO REASON"; bad++ }
        if (tests[row] && row in reason) { print "row " row " has a test, and a reason why it has none"; bad++ }
      }
      print covered + 0 " of 90 rows have tests"
      exit covered < 78 || bad > 0
    }' "$log"
}

case "${1:-}" in
--run) step "attacks" run ;;
esac
table
