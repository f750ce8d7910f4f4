//! `nats-server` with a stream, on a directory of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use onrush_benches::Failure;
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Message, SUBJECT, Sync, message, stream};
use crate::process::{Launch, Process, free_port};
use crate::stage::Stage;

/// The stream's name.
const STREAM: &str = "ORDERS";
/// Where the answer to a question arrives.
const SAID: &str = "said";

/// A running server.
pub(super) struct Server {
    pub(super) process: Process,
    port: u16,
    /// Removed behind the process.
    _dir: TempDir,
}

impl Server {
    pub(super) fn start(stage: &Stage<'_>, sync: Sync) -> Result<Self, Failure> {
        let (binary, dir, port) = (stage.servers.nats()?, stage.fresh()?, free_port()?);
        let file = dir.path().join("server.conf");
        fs::write(&file, config(dir.path(), port, sync))?;
        let mut command = Command::new(binary);
        command.arg("-c").arg(&file).current_dir(dir.path());
        let launch = Launch { name: "nats-server", command, dir: dir.path(), stop: Signal::KILL };
        let mut process = Process::start(launch)?;
        process.wait_for_port(port)?;
        let server = Self { process, port, _dir: dir };
        let subject = format!("$JS.API.STREAM.CREATE.{STREAM}");
        let stream = format!(
            r#"{{"name":"{STREAM}","subjects":["{SUBJECT}"],"storage":"file","retention":"limits","num_replicas":1}}"#
        );
        server.ask(&mut server.connect(SAID)?, &subject, &stream)?;
        Ok(server)
    }

    /// A connection that hears what arrives at `subject`.
    pub(super) fn connect(&self, subject: &str) -> Result<TcpStream, Failure> {
        let mut stream = stream(self.port)?;
        let hello = r#"{"verbose":false,"pedantic":false,"lang":"onrush-peers","version":"1","protocol":1}"#;
        write!(stream, "CONNECT {hello}\r\nSUB {subject} 1\r\nPING\r\n")?;
        await_line(&mut stream, "PONG")?;
        Ok(stream)
    }

    /// A connection at which all messages of the stream arrive.
    pub(super) fn subscribe(&self, subject: &str) -> Result<TcpStream, Failure> {
        let stream = self.connect(subject)?;
        let question = format!("$JS.API.CONSUMER.CREATE.{STREAM}");
        let consumer = format!(
            r#"{{"stream_name":"{STREAM}","config":{{"deliver_subject":"{subject}","deliver_policy":"all","ack_policy":"none","replay_policy":"instant"}}}}"#
        );
        self.ask(&mut self.connect(SAID)?, &question, &consumer)?;
        Ok(stream)
    }

    /// Asks the server itself, on a connection that hears [`SAID`].
    fn ask(&self, stream: &mut TcpStream, subject: &str, body: &str) -> Result<(), Failure> {
        write!(stream, "PUB {subject} {SAID} {}\r\n{body}\r\n", body.len())?;
        let mut heard = Vec::new();
        loop {
            let found = message(&heard)?.map(|(said, length)| match said {
                Message::Payload(payload) => (Some(String::from_utf8_lossy(payload).into_owned()), length),
                Message::Ping | Message::Other => (None, length),
            });
            match found {
                Some((Some(said), _)) if said.contains("\"error\"") => {
                    return Err(Failure::unexpected("an answer of JetStream", said));
                }
                Some((Some(_), _)) => return Ok(()),
                Some((None, length)) => drop(heard.drain(..length)),
                None => read_more(stream, &mut heard)?,
            }
        }
    }
}

fn await_line(stream: &mut TcpStream, line: &str) -> Result<(), Failure> {
    let (mut heard, end) = (Vec::new(), format!("{line}\r\n"));
    // Something may stand behind it already.
    while !heard.windows(end.len()).any(|part| part == end.as_bytes()) {
        read_more(stream, &mut heard)?;
    }
    Ok(())
}

fn read_more(stream: &mut TcpStream, heard: &mut Vec<u8>) -> Result<(), Failure> {
    let mut buffer = [0; 4_096];
    match stream.read(&mut buffer)? {
        0 => Err(Failure::unexpected("a server that goes on", String::from_utf8_lossy(heard))),
        bytes => {
            heard.extend_from_slice(&buffer[..bytes]);
            Ok(())
        }
    }
}

fn config(dir: &Path, port: u16, sync: Sync) -> String {
    let store = dir.join("store");
    let sync = if sync == Sync::Always { "  sync_interval: always\n" } else { "" };
    format!(
        "listen: 127.0.0.1:{port}\njetstream {{\n  store_dir: \"{}\"\n  max_file_store: 64GB\n{sync}}}\n",
        store.display()
    )
}

/// True if the version has a mode in which an acknowledged message is on disk.
pub(crate) fn syncs_always(binary: &Path) -> bool {
    let Ok(dir) = tempfile::tempdir() else { return false };
    let file = dir.path().join("server.conf");
    let tried = fs::write(&file, config(dir.path(), 4_222, Sync::Always))
        .and_then(|()| Command::new(binary).arg("-c").arg(&file).arg("-t").output());
    tried.is_ok_and(|tried| tried.status.success())
}

/// What it calls itself.
pub(crate) fn version(binary: &Path) -> Option<String> {
    let said = Command::new(binary).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.trim().rsplit_once('v').map(|(_, version)| version.to_owned())
}

/// How it runs.
pub(crate) fn how() -> String {
    "a stream of one replica with file storage and no limits, a push consumer without acknowledgements; as it comes, or \
     `sync_interval: always`"
        .into()
}
