#!/usr/bin/env bash
# The bug bank: every planted bug must be found within 1,000 seeds.
#
#   engine/sim/planted.sh          all of them
#   engine/sim/planted.sh 09 11    these bugs of rules and shards
#
# Bugs of the host (01 to 07) are chosen at run time. Bugs of rules and shards stand in the product
# behind cfg(planted = "NN"): a wrapper hands the flag to this workspace's crates alone, so that
# nothing else is built again.
set -euo pipefail
cd "$(dirname "$0")/../.."

declare -A story=(
  [08]="refunds: pending ones do not count"
  [09]="expiry: a paid order expires too"
  [10]="keys: another body gets the first receipt"
  [11]="stock: what is held is sold again"
  [12]="baskets: a participant expires its hold without asking home"
  [13]="keys: no mark while the first call runs"
  [14]="memory: rows leave before the store has them"
)
wrappers=$(mktemp -d)
trap 'rm -rf "$wrappers"' EXIT
missed=0

if [ $# -eq 0 ]; then
  cargo run --quiet --release -p onrush-sim -- --planted all || missed=1
  set -- 08 09 10 11 12 13 14
fi
for bug in "$@"; do
  wrapper="$wrappers/planted-$bug"
  printf '#!/bin/sh\nexec "$@" --cfg '"'"'planted="%s"'"'"'\n' "$bug" > "$wrapper"
  chmod +x "$wrapper"
  if line=$(RUSTC_WORKSPACE_WRAPPER="$wrapper" cargo run --quiet --release -p onrush-sim -- \
    --seeds 1000 --failures 1); then
    echo "$bug ${story[$bug]:-}: NOT FOUND in 1000 seeds"
    missed=1
  else
    echo "$bug ${story[$bug]:-}: $(echo "$line" | cut -c1-300)"
  fi
done
exit $missed
