#!/usr/bin/env bash
# Lints the .proto files by the rules of buf.yaml.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The binary comes as an optional dependency; the package's script would only look whether it did.
npm install --prefix "$work" --silent --no-audit --no-fund --ignore-scripts @bufbuild/buf@1.75.0
cd "$here"
"$work/node_modules/.bin/buf" lint
