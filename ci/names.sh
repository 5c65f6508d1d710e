#!/usr/bin/env bash
# Every test that LIMITS.md and docs/SECURITY.md name exists.
source "$(dirname "$0")/common.sh"

missing=0
have=$(git grep -hoE 'fn [a-z0-9_]+' -- '*.rs' | cut -c4- | sort -u)
for page in LIMITS.md docs/SECURITY.md; do
  # A name with four words or more, or a prefix of one that ends in `_*`.
  for name in $(grep -oE '`[a-z0-9]+(_[a-z0-9]+){3,}`|`attack_[0-9]+_\*`' "$page" | tr -d '`' | sort -u); do
    case $name in
    *\*) grep -q "^${name%\*}" <<<"$have" || { echo "$page: no test $name"; missing=1; } ;;
    *) grep -qx "$name" <<<"$have" || { echo "$page: no test $name"; missing=1; } ;;
    esac
  done
done
exit "$missing"
