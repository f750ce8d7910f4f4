#!/usr/bin/env bash
# run.sh [SECONDS [DECODER...]]: as proto/fuzz/run.sh, for what nodes of a cluster say to each other.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
FUZZ_PACKAGE=$here exec "$here/../../proto/fuzz/run.sh" "$@"
