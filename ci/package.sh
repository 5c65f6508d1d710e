#!/usr/bin/env bash
# Every crate that is published can be packaged, and builds from its package.
source "$(dirname "$0")/common.sh"

dirty=()
[ -n "${ALLOW_DIRTY:-}" ] && dirty=(--allow-dirty)
step package cargo package --workspace --locked "${dirty[@]}"
