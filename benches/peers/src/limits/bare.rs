//! A tonic server whose handlers only answer, in a process of its own.

use onrush_benches::Failure;
use onrush_benches::cpu::process_ns;
use onrush_benches::sale::Sale;
use onrush_benches::unary::Messages;
use onrush_benches::unary::bare::Bare;
use onrush_benches::unary::client::{Call, Callee, Load, Run, Token, drive};

use crate::process::Process;
use crate::role::{Role, announce};
use crate::round::Round;
use crate::stage::Stage;

/// Connections and calls on each, for this server and ours alike.
const CONNECTIONS: usize = 8;
const IN_FLIGHT: usize = 32;

/// Measures it.
pub(crate) fn measure(stage: &Stage<'_>) -> Result<Round, Failure> {
    let role = Role::start("bare", stage)?;
    calls(&role.address("bare")?, &role.process, &None, stage)
}

/// Calls `CreateOrder` for a while.
pub(crate) fn calls(
    address: &str,
    server: &Process,
    token: &Token,
    stage: &Stage<'_>,
) -> Result<Round, Failure> {
    let load =
        Load { connections: CONNECTIONS, in_flight: IN_FLIGHT, seconds: stage.span.measured.as_secs_f64() };
    let callee = Callee { address, spent: &|| process_ns() + server.cpu_ns() };
    let mut messages = Messages::of(Sale::hot());
    let run: Run = drive(callee, Call::Create, token, load, &mut messages)?;
    Ok(Round {
        per_s: run.calls_per_s,
        p50_us: Some(run.p50_us),
        p99_us: Some(run.p99_us),
        client_us: Some(run.cpu_us - run.server_cpu_us),
        server_us: Some(run.server_cpu_us),
    })
}

/// The server, until it is ended.
pub(crate) fn role() -> Result<(), Failure> {
    let bare = Bare::start(1)?;
    announce("bare", bare.address())?;
    loop {
        std::thread::park();
    }
}
