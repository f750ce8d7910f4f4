//! A disk that takes its time: `strace` holds up each call of a process that writes to a file or waits for the disk.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::ClusterError;

/// By how much, in us.
const DELAY_US: u32 = 100_000;
const CALLS: &str = "pwrite64,pwritev,pwritev2,fsync,fdatasync";

/// The disk of a process is slow for as long as this is there.
pub(super) struct SlowDisk {
    strace: Child,
    /// It says here whom it has attached to, and would end if nobody could hear it.
    _said: BufReader<ChildStderr>,
}

impl SlowDisk {
    /// From now on, of all threads of this process.
    pub(super) fn of(pid: u32) -> Result<Self, ClusterError> {
        let trace = format!("trace={CALLS}");
        let inject = format!("inject={CALLS}:delay_exit={DELAY_US}");
        let args = ["-f", "-o", "/dev/null", "-e", &trace, "-e", &inject, "-p", &pid.to_string()];
        let command = format!("strace {}", args.join(" "));
        let failed = |found: String| ClusterError::Tool { command: command.clone(), found };
        let begun = Command::new("strace").args(args).stderr(Stdio::piped()).spawn();
        let mut strace = begun.map_err(|error| failed(error.to_string()))?;
        let Some(said) = strace.stderr.take() else { return Err(failed("no standard error".into())) };
        let (mut said, mut line) = (BufReader::new(said), String::new());
        let read = said.read_line(&mut line);
        let slow = Self { strace, _said: said };
        match read {
            Ok(_) if line.contains("attached") => Ok(slow),
            Ok(_) => Err(failed(line.trim().to_owned())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Whether a disk can be made slow here, tried on a process that does nothing; if not, why.
    pub(super) fn tried() -> Result<(), String> {
        let idler = Command::new("sleep").arg("60").spawn();
        let mut idler = idler.map_err(|error| error.to_string())?;
        let slow = Self::of(idler.id()).map_err(|error| error.to_string());
        let slow = slow.map(drop);
        let _ = idler.kill();
        let _ = idler.wait();
        slow
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // Told to end it lets go of the process first.
        let pid = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw);
        if pid.is_none_or(|pid| kill_process(pid, Signal::TERM).is_err()) {
            let _ = self.strace.kill();
        }
        let _ = self.strace.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_not_there_has_no_disk() {
        // Above what the kernel gives.
        let error = SlowDisk::of(u32::MAX >> 1).err().unwrap().to_string();
        assert!(error.contains("strace"), "{error}");
    }
}
