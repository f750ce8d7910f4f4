#!/usr/bin/env bash
# Serves a shop on free ports whose money goes through localstripe, which keeps books of its own; Stripe's library reads them,
# makes the cards, and signs what comes to the webhook.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
onrush=${1:-${CARGO_TARGET_DIR:-$here/../../../target}/release/onrush}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install stripe==16.1.0 localstripe==1.15.10
# Nothing is left beside the scripts.
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$here/.."
"$work/venv/bin/python" "$here/pay.py" "$onrush" "$work"
