#!/usr/bin/env bash
# The process tests where the kernel lacks features, as README's table of kernels has them. Without an
# argument: all that sessions use at all times denied together, on one processor and with small stacks.
# With --each, a soak: each feature by itself, first unknown to the kernel, then forbidden by a sandbox.
# An absent /proc is not among them: the tests read it to count; `ring/src/segment/tests/limits.rs` hides it.
source "$(dirname "$0")/common.sh"

host=$(rustc -vV | sed -n 's/^host: //p')
runner="CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$host")_RUNNER"
# Of the whole workspace, as the tests before: those of two packages alone would be built anew, with fewer features.
tests=(--workspace --lib --tests --locked)
log=$(mktemp)
only=$(mktemp)
trap 'rm -f "$log" "$only"' EXIT

# Runs tests of sessions, and no others.
cat >"$only" <<'EOF'
#!/usr/bin/env bash
case "$CARGO_PKG_NAME" in memring | memring-transport) exec "$@" ;; esac
EOF
chmod +x "$only"

build() {
  cargo build --quiet --workspace --bins --examples --locked
  cargo test --quiet "${tests[@]}" --no-run
}

# denied ARGUMENT...: all tests under `deny ARGUMENT...`.
denied() {
  local status=0
  env "$runner=$only $PWD/target/debug/deny $* --" cargo test --no-fail-fast "${tests[@]}" -- --show-output >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    cat "$log"
    return "$status"
  fi
  awk '/^test result:/ { passed += $4 } END { print passed " tests passed" }' "$log"
  grep -o 'skipped: .*' "$log" | sort | uniq -c || true
}

small() (
  export RUST_MIN_STACK=1048576
  ulimit -s 1024
  denied --one-cpu membarrier futex_waitv pidfd passrights
)

step build build
if [ "${1:-}" != --each ]; then
  step "all denied, one processor, small stacks" small
  exit
fi
for feature in membarrier futex_waitv pidfd passrights peergroups inotify noexec madvise; do
  step "without $feature" denied "$feature"
done
for feature in membarrier futex_waitv pidfd inotify; do
  step "$feature forbidden" denied --errno EPERM "$feature"
done
