//! The file system as a [`Disk`].
//!
//! Overwriting blocks that were written once needs no journal commit, so a durable write with
//! O_DIRECT and O_DSYNC costs little more than the device's own write. Where the file system refuses
//! them (tmpfs, some overlays, other systems than Linux) a write is followed by fdatasync instead.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{AlignedBuf, Disk, DiskFile, SECTOR_BYTES};

/// Zeros are written in pieces of this many bytes when a file is created.
const FILL_BYTES: usize = 1 << 20;

/// Names with this prefix are this module's own and never listed.
const HIDDEN_PREFIX: char = '.';

/// How [`DiskFile::write_durable`] reaches the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// One write that bypasses the page cache and returns when the device has it.
    Direct,
    /// A write into the page cache, then fdatasync.
    Buffered,
    /// The same, on a file system that lives in memory: it survives the process, not the machine.
    Memory,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "O_DIRECT+O_DSYNC",
            Self::Buffered => "write+fdatasync",
            Self::Memory => "write+fdatasync on a file system in memory",
        })
    }
}

/// A directory of the file system.
#[derive(Debug)]
pub struct RealDisk {
    dir: PathBuf,
    /// Kept open: an entry is durable once its directory is synced.
    directory: File,
    durability: Durability,
}

impl RealDisk {
    /// Opens a directory, creating it if it is missing, and probes which kind of durable write it
    /// allows.
    ///
    /// # Errors
    /// Whatever the file system says; a refusal of O_DIRECT alone is not an error.
    pub fn open(dir: impl AsRef<Path>) -> io::Result<Self> {
        let dir = dir.as_ref().to_path_buf();
        fs::create_dir_all(&dir)?;
        let directory = File::open(&dir)?;
        let durability = probe(&dir)?;
        Ok(Self { dir, directory, durability })
    }

    /// Which kind of durable write this directory allows.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        if name.is_empty() || name.starts_with(HIDDEN_PREFIX) || name.contains(['/', '\0']) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("expected a plain file name, found {name:?}"),
            ));
        }
        Ok(self.dir.join(name))
    }

    fn file(&self, path: &Path, buffered: File) -> io::Result<RealFile> {
        let direct = match self.durability {
            Durability::Direct => Some(open_direct(path, Sync::EachWrite)?),
            Durability::Buffered | Durability::Memory => None,
        };
        Ok(RealFile { buffered, direct })
    }
}

impl Disk for RealDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.path(name)?;
        let buffered = OpenOptions::new().read(true).write(true).open(&path)?;
        if self.durability == Durability::Buffered {
            forget_cached(&buffered)?;
        }
        Ok(Box::new(self.file(&path, buffered)?))
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let path = self.path(name)?;
        let buffered = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        reserve(&buffered, len)?;
        if self.durability == Durability::Direct && len.is_multiple_of(SECTOR_BYTES as u64) {
            fill_zeros(&open_direct(&path, Sync::Later)?, len)?;
        } else {
            fill_zeros(&buffered, len)?;
        }
        buffered.sync_all()?;
        self.directory.sync_all()?;
        Ok(Box::new(self.file(&path, buffered)?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !name.starts_with(HIDDEN_PREFIX) && entry.file_type()?.is_file() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_entries(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from)?, self.path(to)?)?;
        self.directory.sync_all()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name)?)?;
        self.directory.sync_all()
    }
}

/// Reads and plain writes go through the page cache; durable writes bypass it where they can. The
/// kernel drops cached pages under a direct write, so a reader never sees what was there before.
struct RealFile {
    buffered: File,
    direct: Option<File>,
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.buffered.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.buffered.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.buffered.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.buffered.sync_all()
    }

    fn write_durable(&self, offset: u64, sectors: &AlignedBuf) -> io::Result<()> {
        match &self.direct {
            Some(direct) => direct.write_all_at(sectors.sectors(), offset),
            None => {
                self.buffered.write_all_at(sectors.sectors(), offset)?;
                self.buffered.sync_data()
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Sync {
    EachWrite,
    Later,
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path, sync: Sync) -> io::Result<File> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;

    let flags = match sync {
        Sync::EachWrite => OFlags::DIRECT | OFlags::DSYNC,
        Sync::Later => OFlags::DIRECT,
    };
    OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_: &Path, _: Sync) -> io::Result<File> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Writes one sector the direct way: some file systems accept the flags and refuse the write.
fn probe(dir: &Path) -> io::Result<Durability> {
    let path = dir.join(format!("{HIDDEN_PREFIX}probe-{}", std::process::id()));
    File::create(&path)?;
    let mut sector = AlignedBuf::default();
    sector.extend_zeros(SECTOR_BYTES);
    let written = open_direct(&path, Sync::EachWrite).and_then(|file| file.write_all_at(sector.sectors(), 0));
    let in_memory = in_memory(&path)?;
    fs::remove_file(&path)?;
    if in_memory {
        return Ok(Durability::Memory);
    }
    match written {
        Ok(()) => Ok(Durability::Direct),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(Durability::Buffered)
        }
        Err(error) => Err(error),
    }
}

/// True on tmpfs and ramfs. Newer kernels take O_DIRECT there, which says nothing about a device.
#[cfg(target_os = "linux")]
fn in_memory(path: &Path) -> io::Result<bool> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let kind = rustix::fs::statfs(path)?.f_type as i64;
    Ok(kind == TMPFS || kind == RAMFS)
}

#[cfg(not(target_os = "linux"))]
fn in_memory(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Claims the blocks first, so that a full disk is known before anything is written.
#[cfg(target_os = "linux")]
fn reserve(file: &File, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;

    if len == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

/// Real zeros: the first overwrite of merely reserved blocks would still commit the journal.
fn fill_zeros(file: &File, len: u64) -> io::Result<()> {
    let mut zeros = AlignedBuf::with_capacity(FILL_BYTES);
    zeros.extend_zeros(FILL_BYTES);
    let mut offset = 0;
    while offset < len {
        let count = (len - offset).min(FILL_BYTES as u64);
        file.write_all_at(&zeros.sectors()[..count as usize], offset)?;
        offset += count;
    }
    Ok(())
}

/// After a failed sync the page cache may hold bytes that the device never got, marked clean. What
/// recovery reads must come from the device.
#[cfg(target_os = "linux")]
fn forget_cached(file: &File) -> io::Result<()> {
    use rustix::fs::{Advice, fadvise};

    file.sync_all()?;
    fadvise(file, 0, None, Advice::DontNeed)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn forget_cached(file: &File) -> io::Result<()> {
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exercise(dir: &Path) -> Durability {
        let disk = RealDisk::open(dir).unwrap();
        let file = disk.create("a", 3 * SECTOR_BYTES as u64).unwrap();
        assert_eq!(file.len().unwrap(), 3 * SECTOR_BYTES as u64);
        let mut back = vec![9; SECTOR_BYTES];
        assert_eq!(file.read_at(SECTOR_BYTES as u64, &mut back).unwrap(), SECTOR_BYTES);
        assert!(back.iter().all(|byte| *byte == 0));

        let mut sectors = AlignedBuf::default();
        sectors.extend_from_slice(b"durable");
        file.write_durable(SECTOR_BYTES as u64, &sectors).unwrap();
        file.read_at(SECTOR_BYTES as u64, &mut back).unwrap();
        assert_eq!(&back[..7], b"durable", "a cached page must not outlive a direct write");

        file.write_at(0, b"plain").unwrap();
        file.sync().unwrap();
        disk.rename("a", "b").unwrap();
        disk.create("c", 100).unwrap();
        assert_eq!(disk.list().unwrap(), ["b", "c"]);
        disk.remove("c").unwrap();
        let again = disk.open("b").unwrap();
        let mut short = [0; 16];
        assert_eq!(again.read_at(3 * SECTOR_BYTES as u64 - 4, &mut short).unwrap(), 4);
        again.read_at(0, &mut short).unwrap();
        assert_eq!(&short[..5], b"plain");
        assert_eq!(disk.open("a").err().unwrap().kind(), io::ErrorKind::NotFound);
        disk.durability()
    }

    #[test]
    fn keeps_bytes_on_a_file_system() {
        exercise(tempfile::tempdir().unwrap().path());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn names_a_file_system_in_memory_though_it_takes_direct_writes() {
        if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
            assert_eq!(exercise(dir.path()), Durability::Memory);
        }
    }

    #[test]
    fn the_buffered_way_keeps_bytes_too() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::open(dir.path()).unwrap();
        disk.durability = Durability::Buffered;
        let mut sectors = AlignedBuf::default();
        sectors.extend_from_slice(b"durable");
        disk.create("a", SECTOR_BYTES as u64).unwrap().write_durable(0, &sectors).unwrap();
        let mut back = [0; 7];
        disk.open("a").unwrap().read_at(0, &mut back).unwrap();
        assert_eq!(&back, b"durable");
    }

    #[test]
    fn refuses_names_that_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(dir.path()).unwrap();
        for name in ["", "../a", "a/b", ".hidden"] {
            assert_eq!(disk.create(name, 0).err().unwrap().kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }
}
