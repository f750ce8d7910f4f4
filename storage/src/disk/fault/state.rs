//! The directory of a [`FaultDisk`](super::FaultDisk) and what its faults do to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::inode::{Inode, TEAR_BYTES};
use super::plan::{Armed, FaultPlan, comes_due, take_one};
use super::prng::Prng;
use crate::disk::SECTOR_BYTES;

pub(super) struct State {
    prng: Prng,
    pub(super) plan: FaultPlan,
    pub(super) armed: Armed,
    /// Counts power losses; a handle of an earlier life is dead.
    pub(super) boot: u64,
    pub(super) durable_writes: u64,
    pub(super) steps: u64,
    names: BTreeMap<String, u64>,
    /// Changes of the directory whose sync failed, the latest one last.
    unsynced: Vec<Vec<Entry>>,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
}

/// A name, and the file it led to before a change.
struct Entry {
    name: String,
    before: Option<u64>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            prng: Prng::new(seed),
            plan: FaultPlan::default(),
            armed: Armed::default(),
            boot: 0,
            durable_writes: 0,
            steps: 0,
            names: BTreeMap::new(),
            unsynced: Vec::new(),
            inodes: BTreeMap::new(),
            next_inode: 0,
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    pub(super) fn find(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("expected a file {name:?}, found none"))
        })
    }

    pub(super) fn inode(&mut self, inode: u64) -> &mut Inode {
        self.inodes.entry(inode).or_default()
    }

    pub(super) fn create(&mut self, name: &str, len: u64) -> io::Result<u64> {
        let replaced = self.names.get(name).and_then(|inode| self.inodes.get(inode));
        let replaced_bytes = replaced.map_or(0, |inode| inode.bytes().len() as u64);
        self.claim_space(len, replaced_bytes)?;
        if self.crashes_in_step() {
            // The entry may be missing, or there before the file has its length.
            if self.prng.coin() {
                let len = self.prng.below(len + 1);
                self.link(name, len);
            }
            return Err(self.power_loss());
        }
        let before = self.names.get(name).copied();
        let inode = self.link(name, len);
        self.sync_entries([(name, before)])?;
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.find(from)?;
        let crashes = self.crashes_in_step();
        let replaced = self.names.get(to).copied();
        if !crashes || self.prng.coin() {
            self.names.remove(from);
            self.names.insert(to.to_owned(), inode);
        }
        if crashes {
            return Err(self.power_loss());
        }
        self.sync_entries([(from, Some(inode)), (to, replaced)])
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        let inode = self.find(name)?;
        let crashes = self.crashes_in_step();
        if !crashes || self.prng.coin() {
            self.names.remove(name);
        }
        if crashes {
            return Err(self.power_loss());
        }
        self.sync_entries([(name, Some(inode))])
    }

    pub(super) fn read(&mut self, inode: u64, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if take_one(&mut self.armed.read_errors) || self.prng.hits(self.plan.read_error_ppm) {
            return Err(device_error());
        }
        Ok(self.inode(inode).read(offset as usize, buf))
    }

    pub(super) fn write(&mut self, inode: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.claim_growth(inode, offset + bytes.len() as u64)?;
        self.inode(inode).write(offset as usize, bytes);
        if self.crashes_in_step() { Err(self.power_loss()) } else { Ok(()) }
    }

    pub(super) fn sync(&mut self, inode: u64) -> io::Result<()> {
        if self.crashes_in_step() {
            return Err(self.power_loss());
        }
        if take_one(&mut self.armed.sync_errors) || self.prng.hits(self.plan.sync_error_ppm) {
            self.inode(inode).fail_sync();
            return Err(device_error());
        }
        self.inode(inode).sync();
        Ok(())
    }

    pub(super) fn write_durable(&mut self, inode: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !offset.is_multiple_of(SECTOR_BYTES as u64) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("expected an offset that is a multiple of {SECTOR_BYTES}, found {offset}"),
            ));
        }
        self.claim_growth(inode, offset + bytes.len() as u64)?;
        self.durable_writes += 1;
        // They are meant for this write, and used up by it also if it fails.
        let lost = take_one(&mut self.armed.lost_writes);
        let strayed = self.armed.misdirect_sectors.take().unwrap_or(0) * SECTOR_BYTES as i64;
        let crashes_in_write = comes_due(&mut self.armed.crash_in_writes);
        if self.crashes_in_step() || crashes_in_write {
            self.tear(inode, offset as usize, bytes);
            return Err(self.power_loss());
        }
        let unsynced = self.plan.buffered
            && (take_one(&mut self.armed.sync_errors) || self.prng.hits(self.plan.sync_error_ppm));
        if unsynced {
            self.inode(inode).write(offset as usize, bytes);
            self.inode(inode).fail_sync();
            return Err(device_error());
        }
        if take_one(&mut self.armed.write_errors) || self.prng.hits(self.plan.write_error_ppm) {
            let pieces = (bytes.len() / TEAR_BYTES) as u64;
            let prefix = self.prng.below(pieces + 1) as usize * TEAR_BYTES;
            self.inode(inode).write_through(offset as usize, &bytes[..prefix]);
            return Err(device_error());
        }
        if lost {
            return Ok(());
        }
        let offset = offset.saturating_add_signed(strayed);
        self.inode(inode).write_through(offset as usize, bytes);
        Ok(())
    }

    /// Every file falls to what the disk had; handles die; files that no name leads to vanish.
    pub(super) fn power_loss(&mut self) -> io::Error {
        self.boot += 1;
        self.armed = Armed::default();
        for inode in self.inodes.values_mut() {
            inode.settle(&mut self.prng);
        }
        self.undo_entries();
        let linked: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| linked.contains(inode));
        power_lost()
    }

    /// Makes changed entries durable, and all that came before with them, as a journal does; or fails to.
    pub(super) fn sync_entries<'a>(
        &mut self,
        changed: impl IntoIterator<Item = (&'a str, Option<u64>)>,
    ) -> io::Result<()> {
        if comes_due(&mut self.armed.entry_error) {
            let entry = |(name, before): (&str, _)| Entry { name: name.to_owned(), before };
            self.unsynced.push(changed.into_iter().map(entry).collect());
            return Err(device_error());
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Of the changes that were not synced, the first ones have reached the disk.
    fn undo_entries(&mut self) {
        let mut changes = std::mem::take(&mut self.unsynced);
        if changes.is_empty() {
            return;
        }
        let reached = self.prng.below(changes.len() as u64 + 1) as usize;
        for Entry { name, before } in changes.drain(reached..).rev().flatten() {
            match before {
                Some(inode) => self.names.insert(name, inode),
                None => self.names.remove(&name),
            };
        }
    }

    /// What a durable write in flight leaves: a prefix, or any subset of its pieces.
    fn tear(&mut self, inode: u64, offset: usize, bytes: &[u8]) {
        let pieces = bytes.len() / TEAR_BYTES;
        let whole_until = self.prng.below(pieces as u64 + 1) as usize;
        let scattered = self.prng.coin();
        for piece in 0..pieces {
            let landed = if scattered { self.prng.coin() } else { piece < whole_until };
            if landed {
                let at = piece * TEAR_BYTES;
                self.inode(inode).write_through(offset + at, &bytes[at..at + TEAR_BYTES]);
            }
        }
        if self.prng.hits(self.plan.flip_at_crash_ppm) {
            let byte = offset + self.prng.below(bytes.len() as u64) as usize;
            let bit = self.prng.below(8) as u8;
            self.inode(inode).flip(byte, bit);
        }
    }

    fn link(&mut self, name: &str, len: u64) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::zeros(len as usize));
        self.names.insert(name.to_owned(), inode);
        inode
    }

    fn crashes_in_step(&mut self) -> bool {
        self.steps += 1;
        comes_due(&mut self.armed.crash_in_steps)
    }

    fn claim_growth(&mut self, inode: u64, end: u64) -> io::Result<()> {
        let len = self.inode(inode).bytes().len() as u64;
        if end > len { self.claim_space(end, len) } else { Ok(()) }
    }

    fn claim_space(&self, bytes: u64, replaced_bytes: u64) -> io::Result<()> {
        let Some(space) = self.plan.space_bytes else { return Ok(()) };
        let linked = self.names.values().filter_map(|inode| self.inodes.get(inode));
        let used: u64 = linked.map(|inode| inode.bytes().len() as u64).sum();
        if used - replaced_bytes.min(used) + bytes > space {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    }
}

fn device_error() -> io::Error {
    rustix::io::Errno::IO.into()
}

pub(super) fn power_lost() -> io::Error {
    io::Error::other("the disk lost power")
}
