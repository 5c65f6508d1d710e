#!/usr/bin/env bash
# Measures everything and writes the results into docs/BENCHMARKS.md and docs/benchmarks; arguments are for
# `memring bench`, as --rivals FILE. With --again nothing is measured, and the page is made of what is there.
source "$(dirname "$0")/common.sh"

page=docs/BENCHMARKS.md
files=docs/benchmarks
memring=(cargo run --quiet --release --locked -p memring-cli -- bench)

if [ "${1:-}" = --again ]; then
  step pictures "${memring[@]}" --from "$files/results.json" --plot "$files" >/dev/null
else
  mkdir -p "$files"
  new=$(mktemp)
  trap 'rm -f "$new"' EXIT
  "${memring[@]}" --json --plot "$files" "$@" >"$new"
  cat "$new" >"$files/results.json"
fi

# The page up to the mark, the pictures, the tables, and the rest of the page.
{
  sed '/^<!-- results -->$/q' "$page"
  for picture in round-trip round-trip-distribution one-way-messages one-way-bytes; do
    printf '\n![%s](benchmarks/%s.svg)\n' "${picture//-/ }" "$picture"
  done
  echo
  "${memring[@]}" --from "$files/results.json" --markdown
  echo
  sed -n '/^<!-- end of results -->$/,$p' "$page"
} >"$files/page"
mv "$files/page" "$page"
