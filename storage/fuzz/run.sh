#!/usr/bin/env bash
# run.sh [SECONDS [DECODER...]]: as proto/fuzz/run.sh, for what is read from disks.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
FUZZ_PACKAGE=$here exec "$here/../../proto/fuzz/run.sh" "$@"
