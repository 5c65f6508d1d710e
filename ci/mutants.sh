#!/usr/bin/env bash
# Drops checks one by one and sees that the attacks notice: ten of them, others each day, or what the
# arguments say (--list, --all, --only NAME).
source "$(dirname "$0")/common.sh"

[ $# -gt 0 ] || set -- --some 10
step "mutants" cargo run --quiet --locked -p memring-attacks --bin mutants -- "$@"
