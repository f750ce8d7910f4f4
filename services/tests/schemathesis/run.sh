#!/usr/bin/env bash
# Serves a shop on free ports and lets schemathesis try every HTTP endpoint by what its /openapi.json promises.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
onrush=${1:-${CARGO_TARGET_DIR:-$here/../../../target}/release/onrush}
work=$(mktemp -d)
pid=
trap 'if [ -n "$pid" ]; then kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install schemathesis==4.32.5

ports=(--user-port 0 --product-port 0 --order-port 0 --payment-port 0 --shipping-port 0 --notification-port 0 --recommendation-port 0)
ACCESS=required ADMIN_EMAIL=admin@example.com ADMIN_PASSWORD='a long admin password' \
    "$onrush" serve --data-dir "$work/data" "${ports[@]}" >"$work/out" &
pid=$!
for _ in $(seq 100); do
    grep -q '^health' "$work/out" && break
    kill -0 "$pid" || { echo "expected onrush to serve, found it ended" >&2; exit 1; }
    sleep 0.1
done
address() { awk -v service="$1" '$1 == service { print $2 }' "$work/out"; }
token=$(python3 - "http://$(address user)/login" <<'PYTHON'
import json, sys, urllib.request

body = json.dumps({"email": "admin@example.com", "password": "a long admin password"}).encode()
request = urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(request, timeout=30))["access_token"])
PYTHON
)

cd "$work"
for service in user product order payment shipping notification recommendation; do
    "$work/venv/bin/st" --config-file "$here/schemathesis.toml" run "http://$(address "$service")/openapi.json" \
        --phases coverage,fuzzing --max-examples 10 --max-time 8 --continue-on-failure --warnings off \
        --header "Authorization: Bearer $token"
done

kill -TERM "$pid"
wait "$pid"
pid=
