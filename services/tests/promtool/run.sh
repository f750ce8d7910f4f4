#!/usr/bin/env bash
# Serves a shop on free ports, buys something, and has promtool and Prometheus' own parser of OpenMetrics read /metrics.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
onrush=${1:-${CARGO_TARGET_DIR:-$here/../../../target}/release/onrush}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
    # The tool alone: installed, the package would start a database beside it.
    (
        cd "$work"
        if ! apt-get download -qq prometheus 2>/dev/null; then
            # A bare machine knows no packages yet.
            sudo=
            if [ "$(id -u)" -ne 0 ]; then sudo=sudo; fi
            $sudo apt-get update -qq
            apt-get download -qq prometheus
        fi
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
        rm prometheus_*.deb
    )
    promtool=$work/usr/bin/promtool
fi
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --quiet --disable-pip-version-check install prometheus-client==0.23.1
timeout 300 "$work/venv/bin/python" "$here/measures.py" "$onrush" "$work" "$promtool"
