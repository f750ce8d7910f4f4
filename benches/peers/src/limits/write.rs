//! One durable write of 4 KiB after the other, as the log makes them.

use std::time::Instant;

use onrush_benches::Failure;
use onrush_benches::cpu::thread_ns;
use onrush_benches::fsync::{Overwritten, filled};
use onrush_benches::samples::Samples;
use onrush_storage::disk::{RealDisk, SECTOR_BYTES};

use crate::interrupt;
use crate::round::Round;
use crate::stage::Stage;

/// Measures it.
pub(crate) fn measure(stage: &Stage<'_>) -> Result<Round, Failure> {
    let dir = stage.fresh()?;
    let disk = RealDisk::open(dir.path())?;
    let (mut file, sector) = (Overwritten::create(&disk)?, filled(SECTOR_BYTES));
    let warm = Instant::now();
    while warm.elapsed() < stage.span.warm {
        file.write(&sector)?;
    }
    let (mut samples, start, cpu) = (Samples::default(), Instant::now(), thread_ns());
    while samples.is_empty() || start.elapsed() < stage.span.measured {
        samples.push(file.write(&sector)?);
        interrupt::check()?;
    }
    let writes = samples.len() as f64;
    Ok(Round {
        per_s: writes / start.elapsed().as_secs_f64(),
        p50_us: Some(samples.median()),
        p99_us: Some(samples.quantile(0.99)),
        client_us: Some((thread_ns() - cpu) as f64 / 1e3 / writes),
        server_us: None,
    })
}
