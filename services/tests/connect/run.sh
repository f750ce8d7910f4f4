#!/usr/bin/env bash
# Serves a shop on free ports and lets a client of the Connect protocol buy something in JSON.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
onrush=${1:-${CARGO_TARGET_DIR:-$here/../../../target}/release/onrush}
work=$(mktemp -d)
pid=
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi; rm -rf "$work"' EXIT

npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts \
    @connectrpc/connect@2.1.2 @connectrpc/connect-node@2.1.2 @bufbuild/protobuf@2.17.0 @bufbuild/buf@1.75.0
(cd "$here/../../../proto/grpc" && "$work/node_modules/.bin/buf" build -o "$work/descriptors.binpb")

ACCESS=open "$onrush" serve --data-dir "$work/data" --services product,order,payment \
    --product-port 0 --order-port 0 --payment-port 0 >"$work/out" &
pid=$!
for _ in $(seq 100); do
    grep -q '^health' "$work/out" && break
    kill -0 "$pid" || { echo "expected onrush to serve, found it ended" >&2; exit 1; }
    sleep 0.1
done
address() { awk -v service="$1" '$1 == service { print $2 }' "$work/out"; }
# Packages are looked for beside the script.
cp "$here/buy.mjs" "$work"
node "$work/buy.mjs" "$work/descriptors.binpb" "$(address product)" "$(address order)"

kill -TERM "$pid"
wait "$pid"
pid=
