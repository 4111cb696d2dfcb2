//! A private copy-on-write layer: write to any disk without changing it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use vm_memory::VolatileSlice;

use super::{DiskError, DiskImage, DiskInfo, Durability, FileStorage, Scatter, Storage};

/// Bytes that one bit of the map stands for.
const SECTOR: u64 = 512;

/// Bytes that one group of bits stands for.
const GROUP: u64 = GROUP_SECTORS * SECTOR;

/// Bits in a group.
const GROUP_SECTORS: u64 = 2048;

/// Bits in a word.
const WORD: u64 = 64;

/// A writable disk that begins as another one and keeps what is written to itself.
///
/// What is written lives in scratch storage and is gone when the overlay is dropped, so flushing costs
/// nothing. Space is taken only by what was written. Many overlays may share a base, to which nobody
/// writes meanwhile.
pub struct Overlay<S = FileStorage> {
    base: Arc<dyn DiskImage>,
    scratch: S,
    written: RwLock<Written>,
    info: DiskInfo,
}

impl Overlay<FileStorage> {
    /// Keeps writes in an unnamed file in the system's directory for temporary files.
    ///
    /// # Errors
    /// The file can't be made.
    pub fn new(base: Arc<dyn DiskImage>) -> io::Result<Self> {
        Self::in_directory(base, &std::env::temp_dir())
    }

    /// Keeps writes in an unnamed file in a directory.
    ///
    /// # Errors
    /// The file can't be made.
    pub fn in_directory(base: Arc<dyn DiskImage>, directory: &Path) -> io::Result<Self> {
        Self::with_scratch(base, FileStorage::new(unnamed_file(directory)?)?)
    }
}

/// A file that is gone once it is closed.
fn unnamed_file(directory: &Path) -> io::Result<File> {
    let mut how = File::options();
    how.read(true).write(true);
    match how
        .clone()
        .custom_flags(libc::O_TMPFILE)
        .mode(0o600)
        .open(directory)
    {
        // A file system (or kernel) that doesn't know unnamed files.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            let name = format!("overlay-{}", uuid::Uuid::new_v4());
            let path = directory.join(name);
            let file = how.create_new(true).mode(0o600).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        result => result,
    }
}

impl<S: Storage> Overlay<S> {
    /// Keeps writes in this storage, whose content is lost.
    ///
    /// # Errors
    /// The storage can't take the disk's size.
    pub fn with_scratch(base: Arc<dyn DiskImage>, scratch: S) -> io::Result<Self> {
        scratch.set_size(0)?;
        scratch.set_size(base.info().size)?;
        let info = DiskInfo {
            read_only: false,
            discard: true,
            discard_reads_zero: true,
            volatile_cache: true,
            ..base.info().clone()
        };
        Ok(Self {
            base,
            scratch,
            written: RwLock::default(),
            info,
        })
    }

    /// Whether the byte at `offset` was written, and the end of the run of bytes of which the same is
    /// true, at most `end`.
    fn run(&self, offset: u64, end: u64) -> (bool, u64) {
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        let (there, run_end) = written.run(offset / SECTOR, end.div_ceil(SECTOR));
        (there, (run_end * SECTOR).min(end))
    }

    fn mark(&self, offset: u64, length: u64) {
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        written.insert(offset / SECTOR..(offset + length) / SECTOR);
    }
}

impl<S: Storage> DiskImage for Overlay<S> {
    fn info(&self) -> &DiskInfo {
        &self.info
    }

    fn read(&self, mut offset: u64, into: &[VolatileSlice<'_>]) -> Result<(), DiskError> {
        let mut into = Scatter::new(into);
        self.info.check_range(offset, into.len())?;
        while !into.is_empty() {
            let (written, end) = self.run(offset, offset + into.len());
            let (here, rest) = into.split_at(end - offset);
            if written {
                self.scratch
                    .read_at(offset, here)
                    .map_err(|error| DiskError::from_io("read", offset, &error))?;
            } else {
                let pieces: Vec<_> = here.pieces().collect();
                self.base.read(offset, &pieces)?;
            }
            offset = end;
            into = rest;
        }
        Ok(())
    }

    fn write(
        &self,
        offset: u64,
        from: &[VolatileSlice<'_>],
        _durability: Durability,
    ) -> Result<(), DiskError> {
        let from = Scatter::new(from);
        self.info.check_change(offset, from.len())?;
        self.scratch
            .write_at(offset, from)
            .map_err(|error| DiskError::from_io("write", offset, &error))?;
        self.mark(offset, from.len());
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), DiskError> {
        self.info.check_change(offset, length)?;
        self.scratch
            .punch(offset, length)
            .map_err(|error| DiskError::from_io("discard", offset, &error))?;
        self.mark(offset, length);
        Ok(())
    }

    fn next_data(&self, mut offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.info.check_range(offset, 0)?;
        // What the base answered last, to ask it once per range and not once per run.
        let mut below: Option<Range<u64>> = None;
        while offset < self.info.size {
            let (written, end) = self.run(offset, self.info.size);
            if written {
                let found = self
                    .scratch
                    .next_data(offset..end)
                    .map_err(|error| DiskError::from_io("seek", offset, &error))?;
                if let Some(found) = found {
                    let start = found.start - found.start % SECTOR;
                    return Ok(Some(start..found.end.next_multiple_of(SECTOR).min(end)));
                }
            } else {
                if below.as_ref().is_none_or(|below| below.end <= offset) {
                    let nothing = self.info.size..self.info.size + 1;
                    below = Some(self.base.next_data(offset)?.unwrap_or(nothing));
                }
                if let Some(below) = &below
                    && below.start < end
                {
                    return Ok(Some(below.start.max(offset)..below.end.min(end)));
                }
            }
            offset = end;
        }
        Ok(None)
    }
}

/// The sectors that were written.
#[derive(Default)]
struct Written {
    groups: BTreeMap<u64, Group>,
}

enum Group {
    /// Every sector.
    All,
    /// Those whose bits are set.
    Some(Box<[u64; (GROUP_SECTORS / WORD) as usize]>),
}

impl Written {
    /// Whether `sector` was written, and where the run of sectors like it ends, at most `end`.
    fn run(&self, sector: u64, end: u64) -> (bool, u64) {
        let mut at = sector;
        let mut kind = None;
        while at < end {
            let group = at / GROUP_SECTORS;
            let group_end = ((group + 1) * GROUP_SECTORS).min(end);
            let next = match self.groups.get(&group) {
                None => {
                    let following = self.groups.range(group..).next();
                    let following = following.map_or(end, |(group, _)| group * GROUP_SECTORS);
                    (false, following.min(end))
                }
                Some(Group::All) => (true, group_end),
                Some(Group::Some(bits)) => {
                    let inside = at % GROUP_SECTORS;
                    let word = bits[(inside / WORD) as usize] >> (inside % WORD);
                    let set = word & 1 == 1;
                    let same = if set {
                        word.trailing_ones()
                    } else {
                        word.trailing_zeros()
                    };
                    let left = WORD - inside % WORD;
                    (set, (at + u64::from(same).min(left)).min(group_end))
                }
            };
            if *kind.get_or_insert(next.0) != next.0 {
                break;
            }
            at = next.1;
        }
        (kind.unwrap_or(false), at)
    }

    fn insert(&mut self, sectors: Range<u64>) {
        let mut at = sectors.start;
        while at < sectors.end {
            let number = at / GROUP_SECTORS;
            let start = at % GROUP_SECTORS;
            let stop = (sectors.end - number * GROUP_SECTORS).min(GROUP_SECTORS);
            if stop - start == GROUP_SECTORS {
                self.groups.insert(number, Group::All);
            } else {
                let empty = || Group::Some(Box::default());
                let group = self.groups.entry(number).or_insert_with(empty);
                if let Group::Some(bits) = group {
                    for sector in start..stop {
                        bits[(sector / WORD) as usize] |= 1 << (sector % WORD);
                    }
                    if bits.iter().all(|word| *word == u64::MAX) {
                        *group = Group::All;
                    }
                }
            }
            at = number * GROUP_SECTORS + stop;
        }
    }
}

const _: () = assert!(GROUP == 1 << 20);
