#!/bin/sh
# All models with more preemptions than CI has time for: takes hours. The first argument is how many.
set -eu
bound="${1:-5}"
[ $# -eq 0 ] || shift
exec "$(dirname "$0")/loom.sh" --bound "$bound" --models "$@"
