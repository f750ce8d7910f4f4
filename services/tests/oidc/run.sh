#!/usr/bin/env bash
# Serves a shop on free ports and lets Authlib, as a client of OAuth 2 and OpenID Connect, get what a user grants it.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

packages authlib==1.9.10 joserfc==1.8.0 requests==2.34.2

LOG=error ACCESS=required ADMIN_EMAIL=admin@example.com ADMIN_PASSWORD='a long admin password' serve user,order,product
"$python" "$here/client.py" "$(address user)" "$(address order)" "$(address product)"
stop
