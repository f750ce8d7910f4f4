#!/usr/bin/env bash
# The bug bank: every planted bug must be found within 1,000 seeds.
#
#   engine/sim/planted.sh          all of them
#   engine/sim/planted.sh 09 11    these bugs of the product's own pieces
#
# Bugs of the host that the simulator is (see planted.rs) are chosen at run time. Bugs of the
# product's own pieces stand there behind cfg(planted = "NN"): a wrapper hands the flag to this
# workspace's crates alone, so that nothing else is built again.
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
  [19]="snapshots: one names a record that it does not hold"
  [20]="retention: up to the newest snapshot, not to the older of two"
  [21]="subscriptions: a cursor inside a frame skips the rest of it"
  [22]="retention: groups that carry money do not hold the log"
  [24]="subscriptions: a released position silently becomes the first one"
  [26]="snapshots: the checkpoint in one is older than the log is released to"
  [23]="recovery: a name that was not synced is believed"
  [25]="subscriptions: the tail hands out what it has, not what comes next"
  [35]="consensus: entries of earlier terms are committed by counting"
  [36]="consensus: a vote for a log that lacks entries"
  [37]="consensus: entries are taken behind another entry than the leader's"
  [38]="consensus: what the leader has on disk is committed"
  [39]="consensus: a restarted member votes though it may have heard a leader right before"
  [40]="consensus: entries that are taken back are acknowledged"
  [42]="consensus: only the new voters count while a group changes"
  [45]="consensus: a lease goes on though another one was asked to lead"
  [46]="consensus: members vote though they hear a leader"
  [47]="consensus: the vote of a member that may have lost the end of its log counts like any"
  [48]="snapshots: a member takes one though it has what is in it"
  [49]="snapshots: one says that it ends with the entry behind its last"
  [41]="consensus: a new leader answers before it knows what was committed"
)
wrappers=$(mktemp -d)
trap 'rm -rf "$wrappers"' EXIT
missed=0

if [ $# -eq 0 ]; then
  found=$(cargo run --quiet --release -p onrush-sim -- --planted all) || missed=1
  cut -c1-300 <<< "$found"
  mapfile -t all < <(printf '%s\n' "${!story[@]}" | sort)
  set -- "${all[@]}"
fi
for bug in "$@"; do
  wrapper="$wrappers/planted-$bug"
  printf '#!/bin/sh\nexec "$@" --cfg '"'"'planted="%s"'"'"'\n' "$bug" > "$wrapper"
  chmod +x "$wrapper"
  # Those of consensus need a cluster.
  nodes=1
  [ "$bug" -lt 35 ] || nodes=3
  if line=$(RUSTC_WORKSPACE_WRAPPER="$wrapper" cargo run --quiet --release -p onrush-sim -- \
    --nodes $nodes --seeds 1000 --failures 1); then
    echo "$bug ${story[$bug]:-}: NOT FOUND in 1000 seeds"
    missed=1
  else
    echo "$bug ${story[$bug]:-}: $(echo "$line" | head -1 | cut -c1-300)"
  fi
done
exit $missed
