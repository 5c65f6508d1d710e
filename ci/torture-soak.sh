#!/bin/sh
# Ten thousand rounds of torture, or as many as the first argument says, with a line on every 500.
set -eu
exec "$(dirname "$0")/torture.sh" "${1:-10000}"
