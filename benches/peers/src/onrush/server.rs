//! `onrush serve` as a process of its own.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use onrush_benches::Failure;
use onrush_benches::sale::Sale;
use onrush_benches::unary;

use super::native::{Commands, open};
use crate::limits;
use crate::process::Process;
use crate::role::Role;
use crate::round::Round;
use crate::stage::Stage;

/// How it runs, but for its directory and its ports.
const SETTINGS: [(&str, &str); 5] =
    [("services", "product,order"), ("shards", "1"), ("host", "thread"), ("store", "fjall"), ("fronts", "1")];

/// Who calls over gRPC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Caller {
    /// Somebody without a token, at a server that asks for none.
    Open,
    /// Somebody whose token is checked with each call.
    Token,
}

/// A running server.
pub(super) struct Server(Role);

impl Server {
    /// Starts one, with `more` arguments.
    pub(super) fn start(stage: &Stage<'_>, more: &[&str]) -> Result<Self, Failure> {
        let dir = stage.fresh()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").env_clear().arg("--data-dir").arg(dir.path().join("data"));
        for port in ["product", "order", "native"] {
            command.arg(format!("--{port}-port=0"));
        }
        for (name, value) in SETTINGS {
            command.arg(format!("--{name}={value}"));
        }
        command.args(more);
        // The last line of what it prints once it serves.
        Ok(Self(Role::launch("onrush", command, dir, "health")?))
    }

    /// Where the native protocol is spoken.
    pub(super) fn native(&self) -> Result<String, Failure> {
        self.0.address("native")
    }

    /// Where it is spoken over QUIC.
    pub(super) fn quic(&self) -> Result<String, Failure> {
        self.0.address("quic")
    }

    /// Where gRPC is spoken, with orders and sessions: `http://host:port`.
    pub(super) fn grpc(&self) -> Result<String, Failure> {
        Ok(format!("http://{}", self.0.address("order")?))
    }

    /// The file of the certificate that it made for itself: what is in front of its digest.
    pub(super) fn certificate(&self) -> Result<PathBuf, Failure> {
        let file = |line: &str| line.split_once(" sha256 ").map(|(file, _)| file.trim().into());
        let found = self.0.printed().lines().find_map(file);
        found.ok_or_else(|| Failure::unexpected("a certificate", self.0.printed()))
    }

    pub(super) fn process(&self) -> &Process {
        &self.0.process
    }

    /// Puts what is on sale.
    pub(super) fn open(&self, sale: &Sale) -> Result<(), Failure> {
        open(TcpStream::connect(self.native()?)?, Commands::of(sale))
    }
}

/// Measures unary calls.
pub(crate) fn grpc(caller: Caller, stage: &Stage<'_>) -> Result<Round, Failure> {
    let server = Server::start(stage, &[])?;
    server.open(&Sale::hot())?;
    let token = match caller {
        Caller::Open => None,
        Caller::Token => unary::token(server.0.dir())?,
    };
    limits::calls(&server.grpc()?, server.process(), &token, stage)
}

/// How it runs, in words.
pub(crate) fn how() -> String {
    let words = SETTINGS.map(|(name, value)| format!("`{name} {value}`"));
    format!("onrush {}: `onrush serve`, {}", env!("CARGO_PKG_VERSION"), words.join(", "))
}
