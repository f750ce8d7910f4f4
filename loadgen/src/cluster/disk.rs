//! What happens to the files of a node: bits that flip, ends that are lost, and a disk that is full.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::ClusterError;
use super::room::done;
use crate::crash::CrashError;
use crate::random::Random;

/// The small disk while there is room on it: memory is used for what lies there alone.
const SMALL_MIB: u64 = 4_096;
/// KiB that are left before ballast takes them.
const LEFT_KIB: u64 = 4_096;
const BALLAST: &str = "ballast";
/// One damage of so many cuts a file off; the others flip a bit.
const TRUNCATED: u64 = 4;
/// One of so many lies anywhere in its file, the others where something was written: logs are made ahead, of zeros.
const ANYWHERE: u64 = 4;

/// What was done to a file of a node that did not run.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    /// Below its data directory.
    pub(super) file: PathBuf,
    pub(super) what: String,
}

fn failed(dir: &Path) -> impl Fn(io::Error) -> ClusterError {
    let dir = dir.to_path_buf();
    move |source| CrashError::Directory { dir: dir.clone(), source }.into()
}

/// Every file below a directory that has something in it, by the directory that it lies in.
fn files(dir: &Path) -> io::Result<BTreeMap<PathBuf, Vec<PathBuf>>> {
    let (mut found, mut left) = (BTreeMap::<_, Vec<PathBuf>>::new(), vec![dir.to_path_buf()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.metadata()?;
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.len() > 0 {
                found.entry(dir.clone()).or_default().push(entry.path());
            }
        }
    }
    found.values_mut().for_each(|files| files.sort_unstable());
    Ok(found)
}

/// Bytes of a file up to its last one that is not zero.
fn written(file: &Path) -> io::Result<u64> {
    let bytes = fs::read(file)?;
    Ok(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1))
}

/// Flips a bit of some file below a directory, or cuts the file off: each directory in it is as likely as the others,
/// so that what has many files is not all that is damaged.
pub(super) fn damage(dir: &Path, random: &mut Random) -> Result<Option<Damage>, ClusterError> {
    let failed = failed(dir);
    let rooms = files(dir).map_err(&failed)?;
    let Some(files) = rooms.values().nth(random.below(rooms.len() as u64) as usize) else { return Ok(None) };
    let file = &files[random.below(files.len() as u64) as usize];
    let all = fs::metadata(file).map_err(&failed)?.len();
    let within = match random.below(ANYWHERE) {
        0 => all,
        _ => written(file).map_err(&failed)?.max(1),
    };
    let at = random.below(within);
    let open = OpenOptions::new().read(true).write(true).open(file).map_err(&failed)?;
    let what = if random.below(TRUNCATED) == 0 {
        open.set_len(at).map_err(&failed)?;
        format!("cut off at {at} of {all} bytes")
    } else {
        let bit = random.below(8);
        flip(&open, at, bit as u8).map_err(&failed)?;
        format!("bit {bit} of byte {at} of {all} flipped")
    };
    let file = file.strip_prefix(dir).unwrap_or(file).to_path_buf();
    Ok(Some(Damage { file, what }))
}

fn flip(file: &File, at: u64, bit: u8) -> io::Result<()> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ (1 << bit)], at)
}

/// Flips a bit of the last entry of a log.
pub(super) fn flip_end(log: &Path, random: &mut Random) -> Result<(), ClusterError> {
    let failed = failed(log);
    let mut segments: Vec<PathBuf> = files(log).map_err(&failed)?.into_values().flatten().collect();
    segments.retain(|path| path.extension().is_some_and(|kind| kind == "segment"));
    segments.sort_unstable();
    // The last one that was written to: another one may stand ready behind it.
    for path in segments.into_iter().rev() {
        let Some(last) = written(&path).map_err(&failed)?.checked_sub(1) else { continue };
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(&failed)?;
        return flip(&file, last, random.below(8) as u8).map_err(&failed);
    }
    Ok(())
}

/// Removes everything in a directory: it may be where a disk begins.
pub(super) fn clear(dir: &Path) -> Result<(), ClusterError> {
    let failed = failed(dir);
    for entry in fs::read_dir(dir).map_err(&failed)? {
        let entry = entry.map_err(&failed)?;
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(&failed)?;
    }
    Ok(())
}

/// Has a directory lie in another one, which may be on another disk; what is in either goes.
pub(super) fn move_to(other: &Path, dir: &Path) -> Result<(), ClusterError> {
    fs::create_dir_all(other).map_err(failed(other))?;
    clear(other)?;
    // A link is no directory to what removes.
    let gone = if dir.is_symlink() { fs::remove_file(dir) } else { fs::remove_dir_all(dir) };
    gone.and_then(|()| std::os::unix::fs::symlink(other, dir)).map_err(failed(dir))
}

/// True if an error of a start says where the damage is: the file, or the part of the directory that it lies in.
pub(super) fn names(said: &str, file: &Path) -> bool {
    let name = |part: &std::ffi::OsStr| said.contains(&*part.to_string_lossy());
    let shard = file.iter().find(|part| part.to_string_lossy().starts_with("shard-"));
    let number = shard.and_then(|part| part.to_str()?.strip_prefix("shard-")?.parse::<u16>().ok());
    file.file_name().is_some_and(name)
        || shard.is_some_and(name)
        || number.is_some_and(|number| said.contains(&format!("shard {number}")))
}

/// A disk in memory that a node's data lies on, in a room of our own.
#[derive(Debug)]
pub(super) struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    pub(super) fn mount(dir: &Path) -> Result<Self, ClusterError> {
        fs::create_dir_all(dir).map_err(failed(dir))?;
        done(&format!("mount -t tmpfs -o size={SMALL_MIB}m tmpfs {}", dir.display()))?;
        Ok(Self { dir: dir.to_path_buf() })
    }

    /// Leaves little room, which ballast takes: memory would have to be as large as the disk otherwise.
    pub(super) fn fill(&self) -> Result<(), ClusterError> {
        let stat = rustix::fs::statvfs(&self.dir).map_err(|error| failed(&self.dir)(error.into()))?;
        let used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize / 1_024;
        done(&format!("mount -o remount,size={}k {}", used + LEFT_KIB, self.dir.display()))?;
        self.top_up()
    }

    /// Ballast takes whatever room there is.
    pub(super) fn top_up(&self) -> Result<(), ClusterError> {
        let file = self.dir.join(BALLAST);
        let failed = failed(&self.dir);
        let mut ballast = OpenOptions::new().create(true).append(true).open(file).map_err(&failed)?;
        loop {
            match ballast.write(&[1; 4_096]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// There is room again.
    pub(super) fn relieve(&self) -> Result<(), ClusterError> {
        fs::remove_file(self.dir.join(BALLAST)).map_err(failed(&self.dir))?;
        done(&format!("mount -o remount,size={SMALL_MIB}m {}", self.dir.display()))
    }
}

impl Drop for SmallDisk {
    /// The directory that it lies in can be removed then.
    fn drop(&mut self) {
        let _ = done(&format!("umount -l {}", self.dir.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_moves_to_another_one_and_both_begin_empty() {
        let rooms = tempfile::tempdir().unwrap();
        let [dir, one, two] = ["dir", "one", "two"].map(|name| rooms.path().join(name));
        fs::create_dir_all(dir.join("inner")).unwrap();
        fs::write(dir.join("inner/file"), "old").unwrap();
        for other in [&one, &two, &one] {
            move_to(other, &dir).unwrap();
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
            fs::write(dir.join("file"), "new").unwrap();
            assert_eq!(fs::read(other.join("file")).unwrap(), b"new");
        }
    }

    #[test]
    fn a_damage_changes_one_file_as_it_says_and_is_the_same_for_a_seed() {
        let (mut flips, mut cuts) = (0, 0);
        for seed in 0..200 {
            let dir = tempfile::tempdir().unwrap();
            let rooms = ["log", "store/tables"].map(|room| dir.path().join(room));
            let mut before = BTreeMap::new();
            for (room, file) in rooms.iter().zip(["1.segment", "2.table"]) {
                fs::create_dir_all(room).unwrap();
                let bytes = [&[7; 100][..], &[0; 50]].concat();
                fs::write(room.join(file), &bytes).unwrap();
                before.insert(room.join(file), bytes);
            }
            let done = damage(dir.path(), &mut Random::new(seed, 1)).unwrap().unwrap();
            let mut changed = Vec::new();
            for (file, before) in &before {
                let after = fs::read(file).unwrap();
                if after == *before {
                    continue;
                }
                changed.push(file.strip_prefix(dir.path()).unwrap().to_path_buf());
                if after.len() == before.len() {
                    let differ = after.iter().zip(before).map(|(one, other)| (one ^ other).count_ones());
                    assert_eq!(differ.sum::<u32>(), 1, "{done:?}");
                    flips += 1;
                } else {
                    assert_eq!(after, before[..after.len()], "{done:?}");
                    cuts += 1;
                }
            }
            assert_eq!(changed, std::slice::from_ref(&done.file), "{done:?}");
        }
        assert!(flips > 100 && cuts > 20, "{flips} {cuts}");
    }

    #[test]
    fn the_last_bit_that_was_written_flips() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("1.segment"), [1, 2, 0]).unwrap();
        fs::write(dir.path().join("2.segment"), [3, 4, 0, 0]).unwrap();
        fs::write(dir.path().join("3.segment"), [0, 0]).unwrap();
        flip_end(dir.path(), &mut Random::new(1, 1)).unwrap();
        assert_eq!(fs::read(dir.path().join("1.segment")).unwrap(), [1, 2, 0]);
        let second = fs::read(dir.path().join("2.segment")).unwrap();
        assert_eq!(((second[1] ^ 4).count_ones(), second[0], second[2]), (1, 3, 0));
    }

    #[test]
    fn a_place_is_named_by_file_or_shard() {
        let file = Path::new("shard-002/log/000000000003.segment");
        assert!(names("damaged: 000000000003.segment", file) && names("shard 2: a torn log", file));
        assert!(names("data/shard-002/store: no such table", file));
        assert!(!names("expected a log, found none", file) && !names("shard 1: damaged", file));
    }

    #[test]
    fn what_is_cleared_is_still_there_and_empty() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "c").unwrap();
        fs::write(dir.path().join("d"), "d").unwrap();
        clear(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
