//! What the program shows of one disk.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use core::fmt;
use core::fmt::Write as _;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use sha2::{Digest, Sha256};
use vmbus_core::guid::Guid;
use vsc_storage::disk::{DiskError, Fua, Geometry};
use vsc_storage::front::Disk;

use super::partition_table::{Header, NoTable, Partition};
use crate::environment::Environment;

/// Bytes of one read while the whole disk is read.
const CHUNK: usize = 256 << 10;
/// Reads in flight while the whole disk is read.
const DEPTH: usize = 4;
/// Least time between two lines about progress, in 100 ns units.
const PROGRESS: u64 = 50_000_000;

/// Why a disk could not be shown.
#[derive(Debug)]
pub enum Failure {
    /// A request failed.
    Disk(&'static str, DiskError),
    /// The disk gave back something else than was written.
    Mismatch {
        /// First block of the write.
        lba: u64,
    },
    /// The disk is too small for what was to be done.
    TooSmall,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(what, error) => write!(f, "{what}: {error}"),
            Self::Mismatch { lba } => write!(f, "block {lba} does not hold what was written to it"),
            Self::TooSmall => f.write_str("the disk is too small"),
        }
    }
}

/// One disk and the environment that gets the facts about it.
pub struct Show<'a, E> {
    environment: &'a E,
    number: usize,
    disk: &'a Disk,
    geometry: Geometry,
}

impl<'a, E: Environment> Show<'a, E> {
    /// Prepares to show a disk under this number.
    ///
    /// # Errors
    /// There is no medium.
    pub fn new(environment: &'a E, number: usize, disk: &'a Disk) -> Result<Self, Failure> {
        let geometry = disk
            .geometry()
            .map_err(|error| Failure::Disk("geometry", error))?;
        Ok(Self {
            environment,
            number,
            disk,
            geometry,
        })
    }

    fn report(&self, key: &str, value: fmt::Arguments<'_>) {
        self.environment
            .report(format_args!("disk.{}.{key}={value}\n", self.number));
    }

    fn print(&self, text: fmt::Arguments<'_>) {
        self.environment
            .print(format_args!("disk {}: {text}\n", self.number));
    }

    /// Who the disk says it is, and how large.
    pub fn describe(&self) {
        let info = self.disk.info();
        let mut identity = String::new();
        let _ = write!(
            identity,
            "{} {} {}",
            info.vendor, info.product, info.revision
        );
        if let Some(guid) = info.identity.disk {
            let _ = write!(identity, ", page 83 {}", Guid::from_bytes(guid));
        }
        if let Some(serial) = info.serial {
            let _ = write!(identity, ", serial {serial}");
        }
        self.print(format_args!("{identity}"));
        self.report("identity", format_args!("{identity}"));
        let geometry = &self.geometry;
        let mut capacity = format!(
            "{} bytes in {} blocks of {} (physical {})",
            geometry.bytes(),
            geometry.blocks(),
            geometry.block_size(),
            geometry.physical_block_size()
        );
        for (is_so, text) in [
            (info.read_only, ", read-only"),
            (info.write_cache, ", write cache"),
            (info.force_unit_access, ", forced writes"),
            (info.discard.is_some(), ", discard"),
        ] {
            if is_so {
                capacity.push_str(text);
            }
        }
        self.print(format_args!("{capacity}"));
        self.report("capacity", format_args!("{capacity}"));
    }

    async fn read(&self, lba: u64, bytes: usize) -> Result<vec::Vec<u8>, Failure> {
        let failed = |error| Failure::Disk("read", error);
        let buffer = self.disk.buffer(bytes).map_err(failed)?;
        let (result, buffer) = self.disk.read(lba, buffer).await;
        result.map_err(failed)?;
        Ok(buffer.to_vec())
    }

    /// The partition table, if there is one.
    ///
    /// # Errors
    /// A read failed; a missing or damaged table is a fact, not a failure.
    pub async fn partition_table(&self) -> Result<(), Failure> {
        match self.read_partition_table().await? {
            Ok((header, partitions)) => {
                let text = format!(
                    "GUID partition table, disk {}, {} partitions",
                    header.disk,
                    partitions.len()
                );
                self.print(format_args!("{text}"));
                self.report("partition-table", format_args!("{text}"));
                for (number, partition) in partitions.iter().enumerate() {
                    let Partition {
                        kind,
                        first_block,
                        last_block,
                        name,
                    } = partition;
                    let text = format!("{first_block}..={last_block} type {kind} '{name}'");
                    self.print(format_args!("partition {number}: {text}"));
                    self.report(&format!("partition.{number:03}"), format_args!("{text}"));
                }
            }
            Err(why) => {
                self.print(format_args!("{why}"));
                self.report("partition-table", format_args!("{why}"));
            }
        }
        Ok(())
    }

    async fn read_partition_table(
        &self,
    ) -> Result<Result<(Header, vec::Vec<Partition>), NoTable>, Failure> {
        let block = self.geometry.block_size() as usize;
        if self.geometry.blocks() < 3 {
            return Ok(Err(NoTable::NoSignature));
        }
        let header = match Header::parse(&self.read(1, block).await?) {
            Ok(header) => header,
            Err(why) => return Ok(Err(why)),
        };
        let length = header.entries_length().next_multiple_of(block);
        let end = header.entries_block.checked_add((length / block) as u64);
        if end.is_none_or(|end| end > self.geometry.blocks()) {
            return Ok(Err(NoTable::Malformed("entries' place")));
        }
        let entries = self.read(header.entries_block, length).await?;
        Ok(header
            .partitions(&entries)
            .map(|partitions| (header, partitions)))
    }

    /// SHA-256 over the whole disk, several reads ahead of the hashing.
    ///
    /// # Errors
    /// A read failed.
    pub async fn hash(&self, now: impl Fn() -> u64) -> Result<(), Failure> {
        let failed = |error| Failure::Disk("read", error);
        let size = self.geometry.bytes();
        let mut hasher = Sha256::new();
        let mut reads = FuturesOrdered::new();
        let mut private = vec![0; CHUNK];
        let (mut next, mut done) = (0, 0);
        let start = now();
        let mut said = start;
        for _ in 0..DEPTH {
            let buffer = self.disk.buffer(CHUNK).map_err(failed)?;
            reads.push_back(self.read_chunk(&mut next, size, buffer));
        }
        while let Some((result, buffer)) = reads.next().await {
            let count = result.map_err(failed)?;
            if let Some(part) = private.get_mut(..count) {
                self.environment.compute(&mut || {
                    // The window has this length: the copy can't fail.
                    let _ = buffer.copy_to(0, part);
                });
                // The host goes on reading while we hash.
                if next < size {
                    reads.push_back(self.read_chunk(&mut next, size, buffer));
                }
                self.environment.compute(&mut || hasher.update(&*part));
            }
            done += count as u64;
            if now().saturating_sub(said) >= PROGRESS {
                said = now();
                self.print(format_args!("{done} of {size} bytes hashed"));
            }
        }
        let mut text = String::new();
        for byte in hasher.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        self.print(format_args!("SHA-256 {text}"));
        self.report("sha256", format_args!("{text}"));
        let elapsed = now().saturating_sub(start);
        self.environment
            .report(format_args!("speed.hash={}\n", rate(size, elapsed)));
        Ok(())
    }

    /// Starts the read of the next chunk; an empty one past the end.
    fn read_chunk(
        &self,
        next: &mut u64,
        size: u64,
        mut buffer: vsc_storage::front::DmaBuffer,
    ) -> impl Future<Output = (Result<usize, DiskError>, vsc_storage::front::DmaBuffer)> + use<'_, E>
    {
        let position = *next;
        let length = usize::try_from(size - position).unwrap_or(CHUNK).min(CHUNK);
        *next += length as u64;
        // Never longer than the buffer.
        let _ = buffer.set_window(0, length);
        let lba = position / u64::from(self.geometry.block_size());
        async move {
            if length == 0 {
                return (Ok(0), buffer);
            }
            self.disk.read(lba, buffer).await
        }
    }

    /// Writes patterns all over the disk, forced and flushed ones among them, and reads them back.
    ///
    /// # Errors
    /// A request failed, or the disk holds something else.
    pub async fn write_read_verify(&self, rounds: u64) -> Result<(), Failure> {
        const LENGTH: usize = 64 << 10;
        let blocks = LENGTH as u64 / u64::from(self.geometry.block_size());
        let places = self
            .geometry
            .blocks()
            .checked_sub(blocks)
            .ok_or(Failure::TooSmall)?;
        let mut random = Random(0x5EED);
        let mut buffer = self
            .disk
            .buffer(LENGTH)
            .map_err(|error| Failure::Disk("buffer", error))?;
        let (mut pattern, mut found) = (vec![0; LENGTH], vec![0; LENGTH]);
        for round in 0..rounds {
            // The first and the last blocks, and some between.
            let lba = match round {
                0 => 0,
                1 => places,
                _ => random.below(places),
            };
            self.environment.compute(&mut || {
                for (word, value) in pattern.chunks_exact_mut(8).zip(0u64..) {
                    word.copy_from_slice(&(value ^ round << 32 ^ lba).to_le_bytes());
                }
                // Both have the length of the window.
                let _ = buffer.copy_from(0, &pattern);
            });
            let fua = if round % 2 == 0 { Fua::Yes } else { Fua::No };
            let (result, written) = self.disk.write(lba, buffer, fua).await;
            result.map_err(|error| Failure::Disk("write", error))?;
            if round % 2 == 1 {
                self.disk
                    .flush()
                    .await
                    .map_err(|error| Failure::Disk("flush", error))?;
            }
            buffer = written;
            buffer.fill(0);
            let (result, read) = self.disk.read(lba, buffer).await;
            result.map_err(|error| Failure::Disk("read", error))?;
            buffer = read;
            let mut is_equal = false;
            self.environment.compute(&mut || {
                let _ = buffer.copy_to(0, &mut found);
                is_equal = found == pattern;
            });
            if !is_equal {
                return Err(Failure::Mismatch { lba });
            }
        }
        let text = format!("{rounds} writes of {LENGTH} bytes read back and equal");
        self.print(format_args!("{text}"));
        self.report("verify", format_args!("{text}"));
        Ok(())
    }

    /// Measures reads of `length` bytes with `depth` in flight, `count` in all, at random or sequential places.
    ///
    /// # Errors
    /// A read failed.
    pub async fn measure(&self, work: Work, now: impl Fn() -> u64) -> Result<String, Failure> {
        let failed = |error| Failure::Disk("read", error);
        let Work {
            length,
            depth,
            count,
            random,
        } = work;
        // A disk may be smaller than one such read.
        let length = usize::try_from(self.geometry.bytes()).map_or(length, |size| size.min(length));
        let blocks = length as u64 / u64::from(self.geometry.block_size());
        let places = (self.geometry.blocks() / blocks.max(1)).max(1);
        let mut generator = Random(0xD15C);
        let mut place = move |index: u64| {
            blocks
                * if random {
                    generator.below(places)
                } else {
                    index % places
                }
        };
        let mut reads = futures_util::stream::FuturesUnordered::new();
        let start = now();
        let mut started = 0;
        while started < count.min(depth) {
            let buffer = self.disk.buffer(length).map_err(failed)?;
            reads.push(self.disk.read(place(started), buffer));
            started += 1;
        }
        while let Some((result, buffer)) = reads.next().await {
            result.map_err(failed)?;
            if started < count {
                reads.push(self.disk.read(place(started), buffer));
                started += 1;
            }
        }
        let elapsed = now().saturating_sub(start).max(1);
        let operations = count.saturating_mul(10_000_000) / elapsed;
        Ok(format!(
            "{operations} reads of {length} bytes a second, {}, {depth} in flight",
            rate(count.saturating_mul(length as u64), elapsed)
        ))
    }
}

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Bytes of a read.
    pub length: usize,
    /// Reads in flight.
    pub depth: u64,
    /// Reads in all.
    pub count: u64,
    /// Random places instead of sequential ones.
    pub random: bool,
}

/// Bytes in 100 ns units, as MB/s.
fn rate(bytes: u64, elapsed: u64) -> String {
    let tenths = u128::from(bytes) * 100 / u128::from(elapsed.max(1));
    format!("{}.{} MB/s", tenths / 10, tenths % 10)
}

/// xorshift64*: places need not be unpredictable, only spread.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_in_decimal_megabytes() {
        assert_eq!(rate(1_000_000, 10_000_000), "1.0 MB/s");
        assert_eq!(rate(1_550_000_000, 10_000_000), "1550.0 MB/s");
        assert_eq!(rate(5, 0), "50.0 MB/s");
    }
}
