//! Which faults a [`FaultDisk`](super::FaultDisk) injects, and how often.

/// A chance that always comes true, in parts per million.
pub(super) const CERTAIN_PPM: u32 = 1_000_000;

/// Chances in parts per million, drawn anew for every call. The default injects nothing: a crash still
/// tears what was not synced, since every disk does that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// A durable write fails with EIO; any prefix of its sectors may have reached the disk.
    pub write_error_ppm: u32,
    /// A sync fails with EIO; what it should have saved is lost at the next crash, even if a later
    /// sync succeeds.
    pub sync_error_ppm: u32,
    /// A read fails with EIO.
    pub read_error_ppm: u32,
    /// A crash in the middle of a durable write flips one bit in the sectors in flight.
    pub flip_at_crash_ppm: u32,
    /// Durable writes go through a page cache, as where O_DIRECT is not allowed: one whose sync fails
    /// is read back as if it had been written, until the file is opened again.
    pub buffered: bool,
    /// The size of the disk in bytes; creating or growing past it is ENOSPC. `None` is endless.
    pub space_bytes: Option<u64>,
}

/// Faults asked for by name, each used up by the next call that it fits.
#[derive(Debug, Default)]
pub(super) struct Armed {
    pub(super) write_errors: u32,
    pub(super) sync_errors: u32,
    pub(super) read_errors: u32,
    pub(super) entry_error: Option<u64>,
    pub(super) lost_writes: u32,
    pub(super) misdirect_sectors: Option<i64>,
    pub(super) crash_in_writes: Option<u64>,
    pub(super) crash_in_steps: Option<u64>,
}

/// Counts an arming down; true when it is used up by this call.
pub(super) fn comes_due(countdown: &mut Option<u64>) -> bool {
    match countdown {
        Some(0 | 1) => {
            *countdown = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

/// Uses one of `count` up, if there is one.
pub(super) fn take_one(count: &mut u32) -> bool {
    let any = *count > 0;
    *count = count.saturating_sub(1);
    any
}
