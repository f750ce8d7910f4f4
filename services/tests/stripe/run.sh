#!/usr/bin/env bash
# Serves a shop on free ports whose money goes through localstripe, which keeps books of its own; Stripe's library reads them,
# makes the cards, and signs what comes to the webhook.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

packages stripe==16.1.0 localstripe==1.15.10
"$python" "$here/pay.py" "$onrush" "$work"
