#!/usr/bin/env bash
# Serves a shop on free ports whose mails go to aiosmtpd, which asks for STARTTLS and a login, and reads what arrives.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

packages aiosmtpd==1.4.6 trustme==1.2.1
"$python" "$here/mail.py" "$onrush" "$work"
