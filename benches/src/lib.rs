//! Benches of the engine and its peers, and `tests/tidy.rs`: the checks on the tree itself.
