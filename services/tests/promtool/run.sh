#!/usr/bin/env bash
# Serves a shop on free ports, buys something, and has promtool and Prometheus' own parser of OpenMetrics read /metrics.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

promtool=$(command -v promtool || true)
if [ -z "$promtool" ]; then
    # The tool alone: installed, the package would start a database beside it. No index of packages has it but the
    # distribution's, which has one version for its life.
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
"$promtool" --version 2>&1 | head -1
packages prometheus-client==0.23.1
timeout 300 "$python" "$here/measures.py" "$onrush" "$work" "$promtool"
