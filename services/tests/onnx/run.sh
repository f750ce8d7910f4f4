#!/usr/bin/env bash
# Trains a model on a few drawn sales and lets tools that we did not write read the networks that it leaves: the checker and
# the reference evaluator of ONNX, and ONNX Runtime. All give the scores that onrush gives.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

packages onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

"$python" "$here/sales.py" "$work"
"$onrush" model train --products "$work/products.csv" --transactions "$work/sales.csv" --out "$work/model" --threads 1
"$python" "$here/check.py" "$onrush" "$work/model" "$work"
