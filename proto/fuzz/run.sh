#!/usr/bin/env bash
# run.sh [SECONDS [DECODER...]]: each decoder under libFuzzer for so much CPU time, one after the other, however busy the
# machine is. New inputs that reach new code are merged into corpus/DECODER; what breaks a decoder is left in
# crashes/DECODER, and fails.
# Needs a C++ compiler, and no nightly toolchain: coverage is LLVM's own pass.
set -euo pipefail
cd "${FUZZ_PACKAGE:-$(dirname "${BASH_SOURCE[0]}")}"

seconds=${1:-60}
shift || true
decoders=("$@")
if [ ${#decoders[@]} -eq 0 ]; then
    read -ra decoders <<<"$(sed -n 's/.*Decoder { name: "\([a-z]*\)".*/\1/p' src/decoders.rs | tr '\n' ' ')"
fi

target=${CARGO_TARGET_DIR:-target}/fuzz
host=$(rustc -vV | sed -n 's/host: //p')
# With a target of its own, flags are for this crate and what it uses, not for build scripts.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares" \
    cargo build --locked --release --target "$host" --target-dir "$target"
binary=$(sed -n '/^\[\[bin\]\]/,$ s/^name = "\(.*\)"/\1/p' Cargo.toml | head -1)
fuzzer=$(realpath "$target/$host/release/$binary")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for decoder in "${decoders[@]}"; do
    export DECODER=$decoder
    mkdir -p "corpus/$decoder" "crashes/$decoder" "$work/$decoder"
    echo "== $decoder: $seconds s of CPU time"
    # As long as what it reads may be, and somewhat longer, where that is not far: a token has 8,192 bytes.
    case $decoder in
    hello) longest=8448 ;;
    *) longest=4096 ;;
    esac
    code=0
    {
        (
            ulimit -c 0 -S -t "$seconds"
            exec nice -n 10 "$fuzzer" "$work/$decoder" "corpus/$decoder" -max_len=$longest -timeout=20 \
                -artifact_prefix="crashes/$decoder/" 2>"$work/log"
        ) || code=$?
        # The shell's word on the signal.
    } 2>/dev/null
    # Only the end of its time ends it well.
    [ $code -eq $((128 + $(kill -l XCPU))) ] ||
        { tail -40 "$work/log" >&2; echo "$decoder: ended with $code, see crashes/$decoder" >&2; exit 1; }
    grep 'cov:' "$work/log" | tail -1
    # The smallest set of inputs with the same coverage, however often each place is passed; what is committed already is
    # kept where it is of use.
    mkdir "$work/merged"
    "$fuzzer" -merge=1 -use_counters=0 "$work/merged" "corpus/$decoder" "$work/$decoder" 2>/dev/null
    find "corpus/$decoder" -type f ! -name 'seed-*' ! -name 'crash-*' -delete
    for input in "$work/merged"/*; do
        cmp -s "$input" /dev/null || cp "$input" "corpus/$decoder/"
    done
    rm -rf "$work/merged"
    rmdir --ignore-fail-on-non-empty "crashes/$decoder" crashes
    echo "== $decoder: $(find "corpus/$decoder" -type f | wc -l) inputs, $(du -bcs "corpus/$decoder" | tail -1 | cut -f1) bytes"
done
