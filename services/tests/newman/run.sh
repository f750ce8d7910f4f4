#!/usr/bin/env bash
# Serves a shop on free ports and lets newman run the Postman collection against it, from the registration to the refund.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
onrush=${1:-${CARGO_TARGET_DIR:-$here/../../../target}/release/onrush}
work=$(mktemp -d)
pid=
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi; rm -rf "$work"' EXIT

npm install --prefix "$work/npm" --silent --no-audit --no-fund --ignore-scripts newman@6.2.2

ports=(--user-port 0 --product-port 0 --order-port 0 --payment-port 0 --shipping-port 0 --notification-port 0 --recommendation-port 0)
ACCESS=required ADMIN_EMAIL=admin@example.com ADMIN_PASSWORD='a long admin password' \
    "$onrush" serve --data-dir "$work/data" "${ports[@]}" >"$work/out" &
pid=$!
for _ in $(seq 100); do
    grep -q '^health' "$work/out" && break
    kill -0 "$pid" || { echo "expected onrush to serve, found it ended" >&2; exit 1; }
    sleep 0.1
done
urls=()
for service in user product order payment shipping notification recommendation; do
    urls+=(--env-var "${service}Url=http://$(awk -v service="$service" '$1 == service { print $2 }' "$work/out")")
done
"$work/npm/node_modules/.bin/newman" run "$here/../../../docs/api/onrush.postman_collection.json" \
    --bail --color off --reporter-cli-no-banner --timeout-request 30000 "${urls[@]}"

kill -TERM "$pid"
wait "$pid"
pid=
