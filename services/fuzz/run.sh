#!/usr/bin/env bash
# run.sh [SECONDS [DECODER...]]: as proto/fuzz/run.sh, for the messages of gRPC that are read in place.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
FUZZ_PACKAGE=$here exec "$here/../../proto/fuzz/run.sh" "$@"
