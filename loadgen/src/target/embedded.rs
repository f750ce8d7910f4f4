//! An engine in this process: no socket, the engine's own batch interface.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use onrush_engine::{Engine, EngineHandle, EngineOptions, HostKind, Port, StoreKind};
use onrush_proto::{OrderState, Reply, Request, Sku};
use onrush_services::backend::Backend;
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::{Books, Page, Setup, StageTimes, Target, TargetError, Viewed};
use crate::gateway::GatewayDays;
use crate::machine;
use crate::meter::{Gauges, Meter};
use crate::target::events::Events;
use crate::target::money::Money;

/// Least time between two readings of the counters: one costs some tens of us.
const METER_PAUSE: Duration = Duration::from_millis(10);

/// How to open the engine.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedOptions {
    pub(crate) shards: u16,
    pub(crate) host: HostKind,
    pub(crate) store: StoreKind,
    /// Where; `None` = a fresh temporary directory.
    pub(crate) data_dir: Option<PathBuf>,
    /// Leave a temporary directory in place.
    pub(crate) keep: bool,
    /// What takes the money behind a server.
    pub(crate) gateway: GatewaySetup,
}

/// What takes the money behind a server in this process.
#[derive(Clone, Default, Debug)]
pub(crate) enum GatewaySetup {
    /// One that answers at once; declines come from the cards that buyers pay with.
    #[default]
    Prompt,
    /// One with bad days.
    Days(GatewayDays),
    /// Somebody who stands in for Stripe.
    StandIn(StandIn),
}

/// Who stands in for Stripe.
#[derive(Clone, Debug)]
pub(crate) struct StandIn {
    /// Where its API begins.
    pub(crate) base: String,
    /// What signs its pushes.
    pub(crate) webhook_secret: &'static str,
    /// How long one call to it may take.
    pub(crate) call_max: Duration,
}

/// An engine in this process.
pub(crate) struct Embedded {
    // Declared before the directory: the engine must be gone before its files are.
    port: Port,
    handle: EngineHandle,
    engine: Engine,
    host: HostKind,
    store: StoreKind,
    data_dir: PathBuf,
    temporary: Option<TempDir>,
}

impl Embedded {
    /// Opens an engine on an empty directory.
    pub(crate) fn open(options: &EmbeddedOptions) -> Result<Self, TargetError> {
        let (data_dir, temporary) = directory(options.data_dir.as_deref(), options.keep)?;
        let engine = Engine::open(EngineOptions {
            data_dir: Some(data_dir.clone()),
            shards: Some(options.shards),
            host: options.host,
            store: options.store,
            ..EngineOptions::default()
        })?;
        let handle = engine.handle();
        let port = handle.port();
        Ok(Self { port, handle, engine, host: options.host, store: options.store, data_dir, temporary })
    }

    /// Where the data lives for good, if a temporary directory is kept.
    fn kept(keep: bool, temporary: TempDir) -> (PathBuf, Option<TempDir>) {
        if keep { (temporary.keep(), None) } else { (temporary.path().to_path_buf(), Some(temporary)) }
    }
}

/// An empty directory for a server's or an engine's data: the one that was asked for, or a temporary one.
pub(crate) fn directory(given: Option<&Path>, keep: bool) -> Result<(PathBuf, Option<TempDir>), TargetError> {
    let Some(dir) = given else {
        let temporary = tempfile::Builder::new().prefix("onrush-loadgen-").tempdir();
        let fail = |source| TargetError::Directory { dir: std::env::temp_dir(), source };
        return Ok(Embedded::kept(keep, temporary.map_err(fail)?));
    };
    let fail = |source| TargetError::Directory { dir: dir.to_path_buf(), source };
    fs::create_dir_all(dir).map_err(fail)?;
    let entries = entries(dir).map_err(fail)?;
    if entries > 0 {
        return Err(TargetError::NotEmpty { dir: dir.to_path_buf(), entries });
    }
    Ok((dir.to_path_buf(), None))
}

fn stage(times: &onrush_engine::StageTimes) -> StageTimes {
    let at = |quantile| times.quantile_ns(quantile);
    StageTimes {
        stage: times.stage().name().into(),
        turns: times.turns(),
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        max_ns: times.max_ns(),
        total_ns: times.total_ns(),
    }
}

fn entries(dir: &Path) -> std::io::Result<usize> {
    Ok(fs::read_dir(dir)?.count())
}

impl Target for Embedded {
    fn name(&self) -> String {
        "embedded".into()
    }

    fn submit(&mut self, tag: u64, request: Request) -> Option<Request> {
        self.port.submit(tag, request).err()
    }

    fn flush(&mut self) {
        self.port.flush();
    }

    fn drain(&mut self, replies: &mut Vec<(u64, Reply)>) -> usize {
        self.port.drain(|tag, reply| replies.push((tag, reply)))
    }

    fn wait(&mut self, timeout: Duration) -> bool {
        self.port.wait(timeout)
    }

    fn in_flight(&self) -> usize {
        self.port.in_flight()
    }

    fn view(&mut self, _tag: u64, page: Page, sku: &Sku) -> Viewed {
        let found = match page {
            Page::Product => self.handle.product(sku).row().is_some(),
            Page::Validate => self.handle.stock(sku).is_some(),
        };
        if found { Viewed::Found } else { Viewed::Missing }
    }

    fn books(&mut self) -> Result<Books, TargetError> {
        let report = self.handle.audit()?;
        let never_was = |state: &OrderState| state.is_unborn() || *state == OrderState::Rejected;
        let accepted = report.orders_by_state.iter().filter(|(state, _)| !never_was(state));
        let mut violations = report.violations;
        if report.violations_dropped > 0 {
            violations.push(format!("and {} more", report.violations_dropped));
        }
        if !report.ok && violations.is_empty() {
            violations.push("the engine's audit failed without naming a rule".into());
        }
        Ok(Books {
            violations,
            orders: accepted.map(|(_, count)| count).sum(),
            units_received: report.units_received,
            units_available: report.units_available,
            units_held: report.units_held,
            units_sold: report.units_sold,
            open_cross_shard: report.open_cross_shard,
        })
    }

    fn events(&mut self) -> Result<Option<Events>, TargetError> {
        let runtime = Builder::new_current_thread().enable_time().build().map_err(TargetError::Client)?;
        runtime.block_on(Events::read(&Backend::local(self.handle.clone()))).map(Some)
    }

    fn money(&mut self) -> Result<Option<Money>, TargetError> {
        let runtime = Builder::new_current_thread().enable_time().build().map_err(TargetError::Client)?;
        runtime.block_on(Money::read(&Backend::local(self.handle.clone()))).map(Some)
    }

    fn meter(&self) -> Result<Meter, TargetError> {
        let handle = self.handle.clone();
        let read = move || Some(Gauges::of(&handle.stats(), machine::resident_bytes()?));
        Ok(Meter { read: Box::new(read), shares_process: true, pause_min: METER_PAUSE })
    }

    fn setup(&self) -> Setup {
        let stats = self.handle.stats();
        Setup {
            durability: stats.durability,
            shards: stats.shards,
            host: format!("{:?}", self.host).to_lowercase(),
            store: format!("{:?}", self.store).to_lowercase(),
            durable_writes: stats.durable_writes,
            records: stats.records,
            log_bytes: stats.log_bytes,
            hot_key_share: stats.hot_key_ppm as f64 / 1e6,
            kept: self.temporary.is_none().then(|| self.data_dir.clone()),
            stages: stats.stages.iter().map(stage).collect(),
        }
    }

    fn close(self: Box<Self>) -> Result<(), TargetError> {
        let Self { port, handle, engine, temporary, .. } = *self;
        drop((port, handle));
        let closed = engine.close();
        // Removed last and even after a failed close: a benchmark must not fill the disk.
        drop(temporary);
        Ok(closed?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("something"), "x").unwrap();
        let error = directory(Some(dir.path()), false).unwrap_err().to_string();
        assert!(error.contains("found 1 entries") && error.contains(dir.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let error = directory(Some(&dir.path().join("file/below")), false).unwrap_err().to_string();
        assert!(error.contains("file/below"), "{error}");
    }
}
