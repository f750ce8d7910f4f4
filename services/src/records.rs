//! Reads committed records in batches, without a gap.

use onrush_engine::{Event, SubscribeError};

use crate::backend::Feed;

/// Calls `record` for up to `max` records behind the cursor; returns how many.
///
/// A full batch may end inside a frame. The next one begins by looking the cursor up anew, so the
/// rest of that frame is handed over and not passed by.
pub(crate) fn read(
    feed: &mut Feed,
    max: usize,
    record: impl FnMut(Event<'_>),
) -> Result<usize, SubscribeError> {
    let count = feed.poll(max, record)?;
    if count == max {
        feed.seek(feed.cursor());
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use onrush_engine::{Engine, EngineOptions, HostKind, StoreKind};
    use onrush_proto::{Command, Lsn, Request, ShardId, StockChange, Text, UpdateStock};

    use super::*;

    #[test]
    fn batches_that_end_inside_frames_leave_no_gap() {
        let dir = tempfile::tempdir().unwrap();
        let options = || EngineOptions {
            data_dir: Some(dir.path().into()),
            host: HostKind::Thread,
            store: StoreKind::Memory,
            ..EngineOptions::default()
        };
        let engine = Engine::open(options()).unwrap();
        write(&engine, 1_000);
        engine.close().unwrap();

        // Opened again, the records come from the files.
        let engine = Engine::open(options()).unwrap();
        let end = engine.handle().end(ShardId(0));
        let mut feed = Feed::Local(engine.handle().subscribe(ShardId(0), Lsn(1)));
        let mut found = Vec::new();
        while read(&mut feed, 7, |event| found.push(event.lsn.0)).unwrap() > 0 {}
        assert_eq!(found, (1..=end.0).collect::<Vec<_>>());
        assert!(end.0 > 1_000);
    }

    /// Puts a product and changes its stock many times at once, so that frames hold many records.
    fn write(engine: &Engine, changes: u64) {
        let sku = Text::new("tea").unwrap();
        let put = onrush_proto::PutProduct {
            sku,
            name: "Tea".into(),
            description: String::new(),
            category: Text::EMPTY,
            brand: Text::EMPTY,
            price: onrush_proto::Money::new(1, onrush_proto::Currency::EUR),
            limit_per_customer: 0,
            limit_returns: false,
            backorder: 0,
            hold_us: 0,
            active: true,
        };
        engine.handle().call_blocking(Request::unkeyed(Command::PutProduct(Box::new(put))));
        let mut port = engine.handle().port();
        for tag in 0..changes {
            let change = UpdateStock { sku, change: StockChange::Add(1), reason: Text::EMPTY };
            port.submit(tag, Request::unkeyed(Command::UpdateStock(change))).unwrap();
        }
        port.flush();
        let mut answered = 0;
        while answered < changes {
            port.wait(std::time::Duration::from_secs(5));
            answered += port.drain(|_, _| ()) as u64;
        }
    }
}
