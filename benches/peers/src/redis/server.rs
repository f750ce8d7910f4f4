//! `redis-server` on a directory of its own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use onrush_benches::Failure;
use onrush_benches::sale::Sale;
use rustix::process::Signal;
use tempfile::TempDir;

use super::resp::{Reply, bulk, bulk_number, head, reply};
use super::{Ask, Sync};
use crate::process::{Launch, Process, at, free_port};
use crate::stage::Stage;

/// Units of each SKU: more than any run sells.
const PLENTY: u64 = 1 << 40;

/// An order: found by its key, else stock, the customer's count, and a record with its payment, all or nothing. 1 = accepted, 2 =
/// accepted before. What runs out is not swept, which is in Redis' favour.
const RESERVE: &str = r"
local function reserve(key, customer, sku)
  local order = 'o:' .. key
  if redis.call('EXISTS', order) == 1 then return 2 end
  local item = redis.call('HMGET', 's:' .. sku, 'available', 'price', 'limit')
  if not item[1] then return -1 end
  if tonumber(item[1]) < 1 then return -2 end
  local count = 'c:' .. customer .. ':' .. sku
  if redis.call('INCR', count) > tonumber(item[3]) then
    redis.call('DECR', count)
    return -3
  end
  redis.call('HINCRBY', 's:' .. sku, 'available', -1)
  redis.call('HSET', order, 'customer', customer, 'sku', sku, 'quantity', 1, 'total', item[2],
    'state', 'pending', 'held_until', ARGV[1], 'payment', 'requires_payment_method')
  return 1
end
";
/// One of them per call.
const ONE: &str = "return reserve(ARGV[2], ARGV[3], ARGV[4])";
/// Several per call.
const MANY: &str = r"
local said = {}
for at = 2, #ARGV, 3 do
  said[#said + 1] = reserve(ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
return said
";

/// A running server.
pub(super) struct Server {
    pub(super) process: Process,
    pub(super) port: u16,
    /// Removed behind the process.
    _dir: TempDir,
}

impl Server {
    pub(super) fn start(stage: &Stage<'_>, sync: Sync) -> Result<Self, Failure> {
        let (binary, dir, port) = (stage.servers.redis()?, stage.fresh()?, free_port()?);
        let mut command = Command::new(binary);
        command.current_dir(dir.path()).args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.arg("--dir").arg(dir.path());
        for (name, value) in settings(sync, stage.servers.io_threads) {
            command.args([format!("--{name}"), value]);
        }
        let launch = Launch { name: "redis-server", command, dir: dir.path(), stop: Signal::KILL };
        let mut process = Process::start(launch)?;
        process.wait_for_port(port)?;
        Ok(Self { process, port, _dir: dir })
    }

    /// Puts what is on sale, and the script; its name.
    pub(super) fn open(&self, sale: &Sale, ask: Ask) -> Result<Vec<u8>, Failure> {
        let mut stream = TcpStream::connect(at(self.port))?;
        for skus in sale.skus().chunks(1_000) {
            let mut out = Vec::new();
            for sku in skus {
                match ask {
                    Ask::Orders(_) => {
                        head(&mut out, 8);
                        bulk(&mut out, b"HSET");
                        bulk(&mut out, &[b"s:", sku.as_bytes()].concat());
                        for (name, value) in [("available", PLENTY), ("price", 4_990), ("limit", 2)] {
                            bulk(&mut out, name.as_bytes());
                            bulk_number(&mut out, value);
                        }
                    }
                    Ask::Stock(_) => {
                        head(&mut out, 3);
                        bulk(&mut out, b"SET");
                        bulk(&mut out, sku.as_bytes());
                        bulk_number(&mut out, PLENTY);
                    }
                }
            }
            converse(&mut stream, &out, skus.len())?;
        }
        let end = if ask == Ask::Orders(1) { ONE } else { MANY };
        let mut out = Vec::new();
        head(&mut out, 3);
        bulk(&mut out, b"SCRIPT");
        bulk(&mut out, b"LOAD");
        bulk(&mut out, format!("{RESERVE}{end}").as_bytes());
        let said = converse(&mut stream, &out, 1)?;
        // `$40`, then the name.
        let name = said.split(|byte| *byte == b'\n').nth(1).unwrap_or_default();
        Ok(name.trim_ascii_end().to_vec())
    }
}

/// Says something and waits for so many replies; the last bytes that came.
fn converse(stream: &mut TcpStream, out: &[u8], replies: usize) -> Result<Vec<u8>, Failure> {
    stream.write_all(out)?;
    let (mut heard, mut at, mut left) = (Vec::new(), 0, replies);
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        match reply(&heard[at..])? {
            Some((Reply { error: Some(error), .. }, _)) => {
                return Err(Failure::unexpected("a reply of Redis", error));
            }
            Some((_, length)) => {
                at += length;
                left -= 1;
            }
            None => {
                let bytes = stream.read(&mut buffer)?;
                if bytes == 0 {
                    return Err(Failure::unexpected("a reply of Redis", "a closed connection"));
                }
                heard.extend_from_slice(&buffer[..bytes]);
            }
        }
    }
    Ok(heard)
}

/// How it runs: no snapshot and no rewriting of the file comes in between.
fn settings(sync: Sync, io_threads: u8) -> Vec<(&'static str, String)> {
    let mut settings =
        vec![("save", String::new()), ("io-threads", io_threads.to_string()), ("tcp-backlog", "511".into())];
    // Threads that only write would leave what is costly, the reading of requests, to one.
    if io_threads > 1 {
        settings.push(("io-threads-do-reads", "yes".into()));
    }
    match sync {
        Sync::Off => settings.push(("appendonly", "no".into())),
        Sync::Always | Sync::EverySecond => {
            let fsync = if sync == Sync::Always { "always" } else { "everysec" };
            settings.extend([
                ("appendonly", "yes".into()),
                ("appendfsync", fsync.into()),
                ("auto-aof-rewrite-percentage", "0".into()),
            ]);
        }
    }
    settings
}

/// What it calls itself.
pub(crate) fn version(binary: &Path) -> Option<String> {
    let said = Command::new(binary).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.split_whitespace().find_map(|word| word.strip_prefix("v=")).map(str::to_owned)
}

/// What else was tried, in short runs in turns on two cores that had other work, too.
const TRIED: &str = "`--io-threads 2` was tried on two cores: a tenth of the single orders, a fifth of the reads, half of what is \
    pipelined, as much by scripts";
/// What it does not have to do here.
const SPARED: &str = "holds that have expired are not swept, as Onrush sweeps them";

/// How it runs, in words.
pub(crate) fn how(io_threads: u8) -> String {
    let words = |sync| {
        let settings = settings(sync, io_threads).into_iter();
        settings.map(|(name, value)| format!("`{name} {value:?}`")).collect::<Vec<_>>().join(", ")
    };
    format!("{} (or `everysec`; reads: `appendonly \"no\"`); {SPARED}; {TRIED}", words(Sync::Always))
}
