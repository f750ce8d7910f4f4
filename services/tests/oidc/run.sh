#!/usr/bin/env bash
# Serves a shop on free ports and lets Authlib, as a client of OAuth 2 and OpenID Connect, get what a user grants it.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
onrush=${1:-${CARGO_TARGET_DIR:-$here/../../../target}/release/onrush}
work=$(mktemp -d)
pid=
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install authlib==1.9.10 joserfc==1.8.0 requests==2.34.2

LOG=error ACCESS=required ADMIN_EMAIL=admin@example.com ADMIN_PASSWORD='a long admin password' \
    "$onrush" serve --data-dir "$work/data" --user-port 0 --order-port 0 --product-port 0 \
    --services user,order,product >"$work/out" &
pid=$!
for _ in $(seq 100); do
    grep -q '^health' "$work/out" && break
    kill -0 "$pid" || { echo "expected onrush to serve, found it ended" >&2; exit 1; }
    sleep 0.1
done
address() { awk -v service="$1" '$1 == service { print $2 }' "$work/out"; }
"$work/venv/bin/python" "$here/client.py" "$(address user)" "$(address order)"

kill -TERM "$pid"
wait "$pid"
pid=
