#!/usr/bin/env bash
# Serves a shop on free ports and lets schemathesis try every HTTP endpoint by what its /openapi.json promises.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

# Both: what is tried is the choice of hypothesis.
packages schemathesis==4.32.5 hypothesis==6.170.17

services=user,product,order,payment,shipping,notification,recommendation
ACCESS=required ADMIN_EMAIL=admin@example.com ADMIN_PASSWORD='a long admin password' serve "$services"
token=$(python3 - "http://$(address user)/login" <<'PYTHON'
import json, sys, urllib.request

body = json.dumps({"email": "admin@example.com", "password": "a long admin password"}).encode()
request = urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"})
print(json.load(urllib.request.urlopen(request, timeout=30))["access_token"])
PYTHON
)

cd "$work"
for service in ${services//,/ }; do
    "$work/venv/bin/st" --config-file "$here/schemathesis.toml" run "http://$(address "$service")/openapi.json" \
        --phases coverage,fuzzing --max-examples 10 --max-time 8 --continue-on-failure --warnings off \
        --header "Authorization: Bearer $token"
done
stop
