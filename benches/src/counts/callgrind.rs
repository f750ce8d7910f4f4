//! A case under callgrind: its process, and what callgrind says of it.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::cases::Case;
use crate::Failure;

/// Callgrind counts while a function with this in its name runs.
const COUNTED: &str = "--toggle-collect=*counted_by_callgrind*";
const VALGRIND: &str = "valgrind (apt-get install valgrind, or as your system installs it)";
const OPERATIONS: &str = "operations ";
const PROCESSOR: &str = "processor ";

/// Instructions of a case.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Count {
    /// The case.
    pub(super) name: &'static str,
    /// Instructions per operation.
    pub(super) instructions: f64,
}

/// Instructions per operation, and the processor that valgrind showed the case.
pub(super) struct Counted {
    /// Instructions per operation.
    pub(super) instructions: f64,
    /// Architecture and what code is chosen by at run time.
    pub(super) processor: String,
}

/// Runs work that is counted. Never inlined: callgrind knows it by its symbol. One at a time, not nested.
#[inline(never)]
pub(super) fn counted_by_callgrind<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Runs a case in this process, and says what its counter needs to know.
pub(super) fn run_case(case: &Case) -> Result<(), Failure> {
    let operations = (case.run)()?;
    println!("{OPERATIONS}{operations}");
    println!("{PROCESSOR}{}", processor());
    Ok(())
}

/// Valgrind emulates a processor without AVX-512, and without AVX2 where the machine has none.
fn processor() -> String {
    let mut told = std::env::consts::ARCH.to_owned();
    #[cfg(target_arch = "x86_64")]
    for (name, there) in [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
        ("avx2", is_x86_feature_detected!("avx2")),
    ] {
        if there {
            told = told + " " + name;
        }
    }
    told
}

/// The version of valgrind, e.g. `3.19.0`.
pub(super) fn version() -> Result<String, Failure> {
    let output = Command::new("valgrind").arg("--version").stdin(Stdio::null()).output();
    let output = output.map_err(|error| Failure::unexpected(VALGRIND, error.to_string()))?;
    let told = text_of(&output, VALGRIND)?;
    Ok(told.trim().trim_start_matches("valgrind-").to_owned())
}

/// Runs a case of this binary under callgrind.
pub(super) fn count(name: &str) -> Result<Counted, Failure> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["-q", "--tool=callgrind", "--collect-atstart=no", COUNTED])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["counts", "--case", name])
        // What the environment holds lies on the stack of the process.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .output()?;
    let told = text_of(&output, &format!("case {name} to run under valgrind"))?;
    let line = |head: &str| told.lines().find_map(|line| line.strip_prefix(head)).map(str::to_owned);
    let wanted = || Failure::unexpected(format!("operations and processor of case {name}"), &told);
    let operations: u64 = line(OPERATIONS).and_then(|count| count.parse().ok()).ok_or_else(wanted)?;
    let processor = line(PROCESSOR).ok_or_else(wanted)?;
    let total = total(&out)?;
    if operations == 0 || total < operations {
        let expected = format!("an instruction or more for each of {operations} operations of case {name}");
        return Err(Failure::unexpected(expected, total));
    }
    Ok(Counted { instructions: total as f64 / operations as f64, processor })
}

fn text_of(output: &Output, expected: &str) -> Result<String, Failure> {
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failure::unexpected(expected, format!("{}: {error}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// All instructions that were counted.
fn total(out: &Path) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(out)?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    total.and_then(|total| total.trim().parse().ok()).ok_or_else(|| {
        Failure::unexpected("a line with totals from callgrind", text.lines().last().unwrap_or_default())
    })
}
