#!/usr/bin/env bash
# Every crate that is published can be packaged, and builds from its package.
source "$(dirname "$0")/common.sh"

# Those with `publish = false` are for this repository only.
mapfile -t kept < <(cargo metadata --format-version 1 --no-deps --locked |
  python3 -c 'import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["publish"] == []:
        print("--exclude", package["name"], sep="\n")')
step package cargo package --workspace --locked "${kept[@]}" "$@"
