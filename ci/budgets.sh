#!/usr/bin/env bash
# Counts the instructions of each operation under callgrind and fails when one takes over 5 % more than its
# budget in benches/budgets/budgets.txt; with --record writes what they take now.
source "$(dirname "$0")/common.sh"

# The code as whoever depends on memring gets it.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
export CARGO_INCREMENTAL=0

install() {
  valgrind --version 2>/dev/null && return
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "valgrind is not installed: install your system's package of that name" >&2
    return 1
  fi
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends valgrind
  valgrind --version
}

step install install
step build cargo build --quiet --release --locked -p memring-budgets
step count cargo run --quiet --release --locked -p memring-budgets -- "$@"
