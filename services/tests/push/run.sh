#!/usr/bin/env bash
# Serves a shop on free ports. Its text messages go to a stand-in, which holds them against Twilio's own library; that also
# signs the calls that say what became of a text. Its messages to browsers are opened by http_ece and verified by py_vapid.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
onrush=${1:-${CARGO_TARGET_DIR:-$here/../../../target}/release/onrush}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install twilio==9.13.0 http-ece==1.2.1 py-vapid==1.9.6
# Nothing is left beside the scripts.
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$here/.."
"$work/venv/bin/python" "$here/texts.py" "$onrush" "$work"
"$work/venv/bin/python" "$here/push.py" "$onrush" "$work"
