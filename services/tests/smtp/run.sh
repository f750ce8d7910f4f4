#!/usr/bin/env bash
# Serves a shop on free ports whose mails go to aiosmtpd, which asks for STARTTLS and a login, and reads what arrives.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
onrush=${1:-${CARGO_TARGET_DIR:-$here/../../../target}/release/onrush}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install aiosmtpd==1.4.6 trustme==1.2.1
"$work/venv/bin/python" "$here/mail.py" "$onrush" "$work"
