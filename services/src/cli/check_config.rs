//! `onrush check-config`: every value and where it came from.

use std::io::{self, Write as _};

use super::Failure;
use crate::config::Resolved;

pub(super) fn run(resolved: &Resolved) -> Result<(), Failure> {
    let mut text = String::new();
    for value in &resolved.values {
        let shown = if value.text.is_empty() { "-".into() } else { value.shown() };
        text.push_str(&format!("{:<28} {:<24} {}\n", value.name, shown, value.origin));
    }
    for warning in &resolved.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    io::stdout().write_all(text.as_bytes()).map_err(Failure::world)
}
