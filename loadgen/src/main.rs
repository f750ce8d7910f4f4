//! `loadgen <scenario> [options]`.

use std::process::ExitCode;

fn main() -> ExitCode {
    onrush_loadgen::main()
}
