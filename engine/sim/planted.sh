#!/usr/bin/env bash
# The bug bank: every planted bug must be found within 1,000 seeds.
#
#   engine/sim/planted.sh          all of them, each by the first seed that finds it
#   engine/sim/planted.sh known    all of them, each by the seed that is known for it
#   engine/sim/planted.sh 09 36    these, each by the first seed that finds it
#
# One build has all bugs, and each run says which of them it has (see planted.rs). The flag is handed to this workspace's
# crates alone, and what the other ones were built to is where every build has it: nothing else is built again.
set -euo pipefail
cd "$(dirname "$0")/../.."

target="${CARGO_TARGET_DIR:-target}"
wrapper=$(mktemp)
trap 'rm -f "$wrapper"' EXIT
printf '#!/bin/sh\nexec "$@" --cfg planted\n' > "$wrapper"
chmod +x "$wrapper"
# With the features of the whole workspace, as CI builds it.
RUSTC_WORKSPACE_WRAPPER="$wrapper" CARGO_BUILD_BUILD_DIR="$target" \
  cargo build --quiet --release --workspace --bin onrush-sim --target-dir "$target/planted"
sim="$target/planted/release/onrush-sim"

missed=0
case "${1:-all}" in
  all | known) "$sim" --planted "${1:-all}" || missed=1 ;;
  *)
    for bug in "$@"; do
      if line=$("$sim" --planted "$bug" --seeds 1000 --failures 1); then
        echo "$bug: NOT FOUND in 1000 seeds"
        missed=1
      else
        echo "$bug: $(head -1 <<< "$line" | cut -c1-300)"
      fi
    done
    ;;
esac
exit $missed
