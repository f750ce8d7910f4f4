//! A room of our own: mounts and networks that nobody else sees. Whatever is made in it is gone with the last process in
//! it, however that ends, so that nothing is left behind that would have to be cleaned up.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::ClusterError;
use crate::cli::{ClusterArgs, Enclosed};
use crate::run::say;

/// Everything that nets are made of, tried where it leaves nothing behind.
const TRY_NETS: &str = "mount -t tmpfs tmpfs /run && ip netns add trial && ip link add bridge0 type bridge && \
    ip link add link0 type veth peer name link1 netns trial && ip link set link0 master bridge0 up && \
    nsenter --net=/run/netns/trial ip link set lo up";
/// What a small disk is made of.
const TRY_MOUNTS: &str = "mount -t tmpfs -o size=1m tmpfs /run && mount -o remount,size=2m /run";

/// As the one that may, or as one that seems to be it.
const WHO: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];

/// Begins this process anew in a room of its own, if it asks for what needs one and is not in one yet. What it is in.
pub(super) fn enter(args: &ClusterArgs) -> Result<Option<Enclosed>, ClusterError> {
    if args.enclosed.is_some() {
        return Ok(args.enclosed);
    }
    if args.namespaces {
        match unshared(Enclosed::Nets) {
            Ok(command) => return Err(begin_anew(command, Enclosed::Nets)),
            Err(found) => say(&format!("network namespaces: passed over, relays are used, as {found}")),
        }
    }
    if args.full > 0 {
        match unshared(Enclosed::Mounts) {
            Ok(command) => return Err(begin_anew(command, Enclosed::Mounts)),
            Err(found) => say(&format!("full disks: passed over, as {found}")),
        }
    }
    Ok(None)
}

/// A command that has a room, and does what is added to it; or why there is none.
fn unshared(enclosed: Enclosed) -> Result<Command, String> {
    let (flags, trial): (&[&str], _) = match enclosed {
        Enclosed::Nets => (&["--mount", "--net"], TRY_NETS),
        Enclosed::Mounts => (&["--mount"], TRY_MOUNTS),
    };
    let mut found = String::new();
    for who in WHO {
        let command = || {
            let mut command = Command::new("unshare");
            command.args(who).args(flags);
            command
        };
        match command().args(["sh", "-c", trial]).output() {
            Ok(output) if output.status.success() => return Ok(command()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                found = said.lines().last().unwrap_or("it failed").to_owned();
            }
            Err(error) => found = format!("unshare: {error}"),
        }
    }
    Err(found)
}

/// Ends only if it did not work.
fn begin_anew(mut command: Command, enclosed: Enclosed) -> ClusterError {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return tool("this binary", &error),
    };
    let name = match enclosed {
        Enclosed::Nets => "nets",
        Enclosed::Mounts => "mounts",
    };
    let error = command.arg(own).args(std::env::args_os().skip(1)).args(["--enclosed", name]).exec();
    tool("unshare", &error)
}

fn tool(command: &str, error: &io::Error) -> ClusterError {
    ClusterError::Tool { command: command.to_owned(), found: error.to_string() }
}

/// Has a command done, of words with blanks between them.
pub(super) fn done(command: &str) -> Result<(), ClusterError> {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    let output = output.map_err(|error| tool(command, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ClusterError::Tool { command: command.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_is_named_with_what_it_said() {
        assert!(done("true").is_ok());
        let error = done("ls /nowhere/at/all").unwrap_err().to_string();
        assert!(error.contains("ls /nowhere/at/all") && error.contains("expected"), "{error}");
        let error = done("no-such-command-of-ours x").unwrap_err().to_string();
        assert!(error.contains("no-such-command-of-ours"), "{error}");
    }
}
