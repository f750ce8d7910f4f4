#!/usr/bin/env bash
# Serves a shop on free ports and lets Python clients buy something by reflection and verify access tokens by PyJWT.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
onrush=${1:-${CARGO_TARGET_DIR:-$here/../../../target}/release/onrush}
work=$(mktemp -d)
pid=
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install grpcio grpcio-reflection "pyjwt[crypto]"

"$onrush" serve --data-dir "$work/data" --product-port 0 --order-port 0 --payment-port 0 --user-port 0 \
    --services product,order,payment,user >"$work/out" &
pid=$!
for _ in $(seq 100); do
    grep -q '^health' "$work/out" && break
    kill -0 "$pid" || { echo "expected onrush to serve, found it ended" >&2; exit 1; }
    sleep 0.1
done
address() { awk -v service="$1" '$1 == service { print $2 }' "$work/out"; }
"$work/venv/bin/python" "$here/buy.py" "$(address product)" "$(address order)" "$(address payment)"
"$work/venv/bin/python" "$here/tokens.py" "$(address user)"

kill -TERM "$pid"
wait "$pid"
pid=
