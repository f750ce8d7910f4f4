//! A disk in memory that fails the way disks fail, at moments chosen by a seed.
//!
//! What a real disk may do, this one does: it keeps any subset of unsynced 512-byte pieces at a power
//! loss, tears the write in flight, fails with EIO halfway, forgets what a failed sync should have
//! saved, writes to the wrong place, or runs full. Same seed and same calls, same bytes.

mod inode;
mod plan;
mod prng;
mod state;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plan::Armed;
pub use plan::FaultPlan;
use state::State;

use super::{AlignedBuf, Disk, DiskFile};

/// A handle on one simulated disk; clones share it.
///
/// A crash kills every open file and leaves the disk ready to be opened again: build the next life on
/// the same handle.
#[derive(Clone)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
}

impl FaultDisk {
    /// An empty disk whose faults follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// Replaces the chances of faults from now on.
    pub fn faults(&self, plan: FaultPlan) {
        self.lock().plan = plan;
    }

    /// Power loss now: open files return errors from here on, unsynced bytes survive in part.
    pub fn crash(&self) {
        self.lock().power_loss();
    }

    /// Arms a power loss in the middle of the `n`-th next durable write (1 is the next one), which
    /// returns an error.
    pub fn crash_after_writes(&self, n: u64) {
        self.lock().armed.crash_in_writes = Some(n);
    }

    /// Arms a power loss in the middle of the `n`-th next call that changes the disk in any way:
    /// create, rename, remove, write, sync, durable write.
    pub fn crash_after_steps(&self, n: u64) {
        self.lock().armed.crash_in_steps = Some(n);
    }

    /// The next durable write fails with EIO and may leave a prefix.
    pub fn fail_next_write(&self) {
        self.lock().armed.write_errors += 1;
    }

    /// The next sync fails with EIO, a buffered durable write's included.
    pub fn fail_next_sync(&self) {
        self.lock().armed.sync_errors += 1;
    }

    /// The next read fails with EIO.
    pub fn fail_next_read(&self) {
        self.lock().armed.read_errors += 1;
    }

    /// The `count`th create, rename or remove from now fails with EIO while its directory is synced: it is
    /// seen from then on, and a power loss may undo it.
    pub fn fail_entry(&self, count: u64) {
        self.lock().armed.entry_error = Some(count);
    }

    /// The next durable write reports success and changes nothing, unless it fails.
    pub fn lose_next_write(&self) {
        self.lock().armed.lost_writes += 1;
    }

    /// The next durable write reports success and lands `sectors` 4 KiB sectors away, unless it fails.
    pub fn misdirect_next_write(&self, sectors: i64) {
        self.lock().armed.misdirect_sectors = Some(sectors);
    }

    /// Takes back what was meant for the next durable write: it did not come to one.
    pub fn calm(&self) {
        let armed = &mut self.lock().armed;
        (armed.lost_writes, armed.misdirect_sectors) = (0, None);
    }

    /// Takes back every fault that was asked for and has not come.
    pub fn disarm(&self) {
        self.lock().armed = Armed::default();
    }

    /// Damages one bit of a file, now and for good.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    pub fn flip_bit(&self, name: &str, byte_offset: u64, bit: u8) -> io::Result<()> {
        let mut state = self.lock();
        let inode = state.find(name)?;
        state.inode(inode).flip(byte_offset as usize, bit);
        Ok(())
    }

    /// Cuts a file to `len` bytes, now and for good.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    pub fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        let mut state = self.lock();
        let inode = state.find(name)?;
        state.inode(inode).truncate(len as usize);
        Ok(())
    }

    /// A copy of a file's bytes as a reader would see them.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    pub fn contents(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut state = self.lock();
        let inode = state.find(name)?;
        Ok(state.inode(inode).bytes().to_vec())
    }

    /// Durable writes asked for since the disk was made.
    pub fn durable_writes(&self) -> u64 {
        self.lock().durable_writes
    }

    /// Calls that change the disk since it was made; see [`crash_after_steps`](Self::crash_after_steps).
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn file(&self, inode: u64, boot: u64) -> Box<dyn DiskFile> {
        Box::new(FaultFile { state: Arc::clone(&self.state), inode, boot })
    }
}

impl Disk for FaultDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        let inode = state.find(name)?;
        // As `RealDisk` asks of the kernel: what a failed sync left in the cache is not believed.
        if state.plan.buffered {
            state.inode(inode).forget_cached();
        }
        Ok(self.file(inode, state.boot))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        let inode = state.create(name, len)?;
        Ok(self.file(inode, state.boot))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.lock().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.lock().remove(name)
    }

    fn sync_entries(&self) -> io::Result<()> {
        self.lock().sync_entries([])
    }
}

struct FaultFile {
    state: Arc<Mutex<State>>,
    inode: u64,
    boot: u64,
}

impl FaultFile {
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = lock(&self.state);
        if state.boot == self.boot { Ok(state) } else { Err(state::power_lost()) }
    }
}

impl DiskFile for FaultFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.inode(self.inode).bytes().len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.alive()?.read(self.inode, offset, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.alive()?.write(self.inode, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.alive()?.sync(self.inode)
    }

    fn write_durable(&self, offset: u64, sectors: &AlignedBuf) -> io::Result<()> {
        self.alive()?.write_durable(self.inode, offset, sectors.sectors())
    }
}

/// A panic elsewhere leaves the disk as it was: bytes in memory cannot be half a bit.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sectors(byte: u8, count: usize) -> AlignedBuf {
        let mut buf = AlignedBuf::default();
        buf.extend_from_slice(&vec![byte; count * 4096]);
        buf
    }

    #[test]
    fn a_crash_kills_handles_and_keeps_what_was_durable() {
        let disk = FaultDisk::new(1);
        let file = disk.create("a", 8192).unwrap();
        file.write_durable(0, &sectors(1, 1)).unwrap();
        file.write_at(4096, &[2; 4096]).unwrap();
        disk.crash();
        assert!(file.len().is_err() && file.sync().is_err());
        let bytes = disk.contents("a").unwrap();
        assert!(bytes[..4096].iter().all(|byte| *byte == 1));
        let survivors = bytes[4096..].chunks(512).filter(|piece| piece[0] == 2).count();
        assert!((1..8).contains(&survivors), "this seed keeps some and loses some, found {survivors}");
        assert_eq!(disk.open("a").unwrap().len().unwrap(), 8192);
    }

    #[test]
    fn the_write_in_flight_is_torn_and_same_seed_tears_alike() {
        let torn = |seed| {
            let disk = FaultDisk::new(seed);
            disk.faults(FaultPlan { flip_at_crash_ppm: 500_000, ..FaultPlan::default() });
            let file = disk.create("a", 64 << 10).unwrap();
            disk.crash_after_writes(2);
            file.write_durable(0, &sectors(1, 1)).unwrap();
            assert!(file.write_durable(4096, &sectors(2, 8)).is_err());
            disk.contents("a").unwrap()
        };
        let outcomes: std::collections::BTreeSet<Vec<u8>> = (0..50).map(torn).collect();
        assert!(outcomes.len() > 30, "tears must differ by seed, found {}", outcomes.len());
        assert_eq!(torn(7), torn(7));
    }

    #[test]
    fn a_failed_write_leaves_a_prefix_and_the_disk_goes_on() {
        let disk = FaultDisk::new(3);
        let file = disk.create("a", 64 << 10).unwrap();
        disk.fail_next_write();
        let error = file.write_durable(0, &sectors(1, 8)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5));
        let bytes = disk.contents("a").unwrap();
        let prefix = bytes.iter().take_while(|byte| **byte == 1).count();
        assert!(bytes[prefix..].iter().all(|byte| *byte == 0) && prefix.is_multiple_of(512));
        file.write_durable(0, &sectors(2, 1)).unwrap();
        disk.fail_next_sync();
        assert!(file.sync().is_err() && file.sync().is_ok());
        disk.fail_next_read();
        assert!(file.read_at(0, &mut [0; 8]).is_err() && file.read_at(0, &mut [0; 8]).is_ok());
    }

    #[test]
    fn writes_can_be_lost_or_land_elsewhere() {
        let disk = FaultDisk::new(4);
        let file = disk.create("a", 16 << 10).unwrap();
        disk.lose_next_write();
        file.write_durable(0, &sectors(1, 1)).unwrap();
        assert_eq!(disk.contents("a").unwrap()[0], 0);
        disk.misdirect_next_write(2);
        file.write_durable(4096, &sectors(1, 1)).unwrap();
        let bytes = disk.contents("a").unwrap();
        assert_eq!((bytes[4096], bytes[3 * 4096]), (0, 1));
        assert_eq!(disk.durable_writes(), 2);
    }

    /// The simulator met a write that failed, and the next one, of another life of the process, strayed.
    #[test]
    fn what_is_meant_for_a_write_that_fails_is_gone_with_it() {
        let disk = FaultDisk::new(4);
        let file = disk.create("a", 16 << 10).unwrap();
        for meant in [FaultDisk::lose_next_write, |disk: &FaultDisk| disk.misdirect_next_write(1)] {
            meant(&disk);
            disk.fail_next_write();
            assert!(file.write_durable(0, &sectors(1, 1)).is_err());
            file.write_durable(4096, &sectors(1, 1)).unwrap();
            assert_eq!(disk.contents("a").unwrap()[4096], 1);
            file.write_durable(4096, &sectors(1, 0)).unwrap();
        }
    }

    #[test]
    fn a_full_disk_refuses_growth_and_takes_overwrites() {
        let disk = FaultDisk::new(5);
        disk.faults(FaultPlan { space_bytes: Some(16 << 10), ..FaultPlan::default() });
        let file = disk.create("a", 16 << 10).unwrap();
        assert_eq!(disk.create("b", 1).err().unwrap().kind(), io::ErrorKind::StorageFull);
        file.write_durable(0, &sectors(1, 4)).unwrap();
        assert_eq!(file.write_at(16 << 10, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.create("a", 16 << 10).unwrap();
    }

    #[test]
    fn a_buffered_write_whose_sync_fails_is_read_until_the_file_is_opened_again() {
        let disk = FaultDisk::new(6);
        disk.faults(FaultPlan { buffered: true, ..FaultPlan::default() });
        let file = disk.create("a", 8192).unwrap();
        file.write_durable(0, &sectors(1, 1)).unwrap();
        disk.fail_next_sync();
        assert!(file.write_durable(4096, &sectors(2, 1)).is_err());
        assert_eq!(disk.contents("a").unwrap()[4096], 2);
        file.sync().unwrap();
        assert_eq!(disk.contents("a").unwrap()[4096], 2, "a later sync saves nothing");
        disk.open("a").unwrap();
        let bytes = disk.contents("a").unwrap();
        assert_eq!((bytes[0], bytes[4096]), (1, 0), "whoever opens the file sees what the disk has");
    }

    #[test]
    fn directory_entries_whose_sync_failed_are_there_until_the_power_goes() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let disk = FaultDisk::new(seed);
            disk.create("a", 1).unwrap();
            disk.fail_entry(1);
            assert!(disk.rename("a", "b").is_err());
            disk.fail_entry(1);
            assert!(disk.create("c", 1).is_err());
            assert_eq!(disk.list().unwrap(), ["b", "c"]);
            disk.crash();
            seen.insert(disk.list().unwrap());
        }
        assert_eq!(seen.len(), 3, "found only {seen:?}");
    }

    #[test]
    fn directory_entries_in_flight_may_be_missing_short_or_old() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let disk = FaultDisk::new(seed);
            disk.crash_after_steps(1);
            assert!(disk.create("a", 8192).is_err());
            let created = disk.contents("a").ok().map(|bytes| bytes.len());
            disk.create("b", 1).unwrap();
            disk.crash_after_steps(1);
            assert!(disk.rename("b", "c").is_err());
            seen.insert((created.is_some(), disk.contents("c").is_ok()));
        }
        assert_eq!(seen.len(), 4, "found only {seen:?}");
    }
}
