# What is checked on a change. Writes nothing to the tree.
verify:
    .ci/run

# Formats, and applies clippy's suggestions.
fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt

# Licences, advisories, banned crates, sources. Needs cargo-deny.
deny:
    cargo deny check

# Fresh simulator seeds: `just simulate 5000 1000` runs 1,000 seeds from 5,000 on.
simulate first="1" seeds="200":
    cargo run --release -p onrush-sim -- --first {{ first }} --seeds {{ seeds }}
