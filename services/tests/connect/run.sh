#!/usr/bin/env bash
# Serves a shop on free ports and lets a client of the Connect protocol buy something in JSON.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts \
    @connectrpc/connect@2.1.2 @connectrpc/connect-node@2.1.2 @bufbuild/protobuf@2.17.0 @bufbuild/buf@1.75.0
(cd "$here/../../../proto/grpc" && "$work/node_modules/.bin/buf" build -o "$work/descriptors.binpb")

ACCESS=open serve product,order,payment
# Packages are looked for beside the script.
cp "$here/buy.mjs" "$work"
node "$work/buy.mjs" "$work/descriptors.binpb" "$(address product)" "$(address order)"
stop
