#!/usr/bin/env bash
# Serves a shop on free ports and lets Python clients buy something, by reflection and by the stubs of Google's protoc, and
# verify access tokens by PyJWT.
# Usage: run.sh [path of the onrush binary]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=services/tests/shop.sh
. "$here/../shop.sh"

packages grpcio==1.85.1 grpcio-tools==1.85.1 grpcio-reflection==1.85.1 grpcio-status==1.85.1 pyjwt==2.15.1 cryptography==50.0.2
protos=$here/../../../proto/grpc/proto
mkdir "$work/stubs"
find "$protos" -name '*.proto' -print0 |
    xargs -0 "$python" -m grpc_tools.protoc -I "$protos" --python_out="$work/stubs" --grpc_python_out="$work/stubs"

serve product,order,payment,user,shipping,notification,recommendation
"$python" "$here/buy.py" "$(address product)" "$(address order)" "$(address payment)"
PYTHONPATH="$PYTHONPATH:$work/stubs" "$python" "$here/stubs.py" "$(address product)" "$(address order)" "$(address payment)" \
    "$(address user)" "$(address shipping)" "$(address notification)" "$(address recommendation)"
"$python" "$here/tokens.py" "$(address user)"
stop
