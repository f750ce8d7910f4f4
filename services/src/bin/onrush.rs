//! The `onrush` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    onrush_services::cli::run(std::env::args_os())
}
