#!/usr/bin/env bash
# Serves a shop on free ports and lets newman run the Postman collection against it, from the registration to the refund.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

npm install --prefix "$work/npm" --silent --no-audit --no-fund --ignore-scripts newman@6.2.2

services=user,product,order,payment,shipping,notification,recommendation
ACCESS=required ADMIN_EMAIL=admin@example.com ADMIN_PASSWORD='a long admin password' serve "$services"
urls=()
for service in ${services//,/ }; do urls+=(--env-var "${service}Url=http://$(address "$service")"); done
"$work/npm/node_modules/.bin/newman" run "$here/../../../docs/api/onrush.postman_collection.json" \
    --bail --color off --reporter-cli-no-banner --timeout-request 30000 "${urls[@]}"
stop
