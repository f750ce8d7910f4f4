#!/usr/bin/env bash
# Serves a shop and pastes the commands of the README's first purchase, as they stand there but for free ports, until its mails
# lie in the data directory.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

python3 "$here/paste.py" "$onrush" "$work" "$here/../../../README.md"
