#!/usr/bin/env bash
# Serves a shop on free ports. Its text messages go to a stand-in, which holds them against Twilio's own library; that also
# signs the calls that say what became of a text. Its messages to browsers are opened by http_ece and verified by py_vapid.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

packages twilio==9.13.0 http-ece==1.2.1 py-vapid==1.9.6
"$python" "$here/texts.py" "$onrush" "$work"
"$python" "$here/push.py" "$onrush" "$work"
