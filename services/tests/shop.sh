# Sourced by the scripts of clients that we did not write: a directory in $work that goes when the script ends, packages of
# Python's, and a shop on free ports. $onrush is the binary: the script's first argument, or what was built last.

onrush=${1:-${CARGO_TARGET_DIR:-$here/../../../target}/release/onrush}
work=$(mktemp -d)
pid=
# Nothing is left beside the scripts.
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$here/.."

cleanup() {
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT

# packages NAME==VERSION...: for $python.
packages() {
    python=$work/venv/bin/python
    python3 -m venv "$work/venv"
    "$python" -m pip --quiet --disable-pip-version-check install "$@"
}

# serve SERVICE,...: until the script ends or calls `stop`. Settings come by the environment.
serve() {
    local service ports=()
    for service in ${1//,/ }; do ports+=("--$service-port" 0); done
    "$onrush" serve --data-dir "$work/data" --services "$1" "${ports[@]}" >"$work/out" &
    pid=$!
    for _ in $(seq 200); do
        if grep -q '^health' "$work/out"; then return; fi
        kill -0 "$pid" || { echo "expected onrush to serve, found it ended" >&2; return 1; }
        sleep 0.1
    done
    echo "expected onrush to serve within 20 s" >&2
    return 1
}

# address SERVICE: where it listens.
address() { awk -v service="$1" '$1 == service && NF == 2 { print $2 }' "$work/out"; }

# It ends as it should, or the script fails.
stop() {
    kill -TERM "$pid"
    wait "$pid"
    pid=
}
