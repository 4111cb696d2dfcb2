//! A write load whose every sector says what it is, to find out what a crash of the host has lost.
//!
//! Generation after generation writes to places that follow from seed and generation alone; when its writes are
//! durable, the guest reports `flushed=GENERATION`. Whoever reads the disk afterwards can tell for each sector which
//! generation it holds, and which it must hold at least.

use alloc::vec;
use alloc::vec::Vec;

use futures_util::future::join_all;
use vsc_storage::disk::plan::Fua;
use vsc_storage::front::Disk;

use super::Failure;
use crate::environment::Environment;

/// Bytes of a sector of the load.
pub const SECTOR: usize = 512;
/// Sectors of one write.
pub const SECTORS_PER_WRITE: u64 = 8;
/// Writes of one generation.
pub const WRITES: u64 = 8;

const MAGIC: u64 = 0x5649_5249_4449_414E;

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteLoad {
    /// Where the writes go.
    pub seed: u64,
    /// The first generation; not 0.
    pub first: u64,
}

impl WriteLoad {
    /// Reads `SEED:FIRST`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (seed, first) = text.split_once(':')?;
        Some(Self {
            seed: seed.parse().ok()?,
            first: first.parse().ok().filter(|first| *first > 0)?,
        })
    }

    /// First sectors of the writes of a generation on a disk of so many sectors. No two overlap.
    #[must_use]
    pub fn places(&self, generation: u64, sectors: u64) -> Vec<u64> {
        let slots = (sectors / SECTORS_PER_WRITE).max(1);
        let mut places = Vec::new();
        for index in 0..WRITES {
            // splitmix64
            let mut z = (self.seed ^ generation << 8 ^ index).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            let place = (z ^ z >> 31) % slots * SECTORS_PER_WRITE;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }

    /// Whether the writes of a generation are forced one by one instead of flushed together.
    #[must_use]
    pub const fn is_forced(generation: u64) -> bool {
        generation % 2 == 1
    }
}

/// Fills a sector with what a generation writes to it.
pub fn fill(sector: &mut [u8], lba: u64, generation: u64) {
    for (index, word) in sector.chunks_exact_mut(8).enumerate() {
        let value = match index {
            0 => MAGIC,
            1 => lba,
            _ => generation,
        };
        word.copy_from_slice(&value.to_le_bytes());
    }
}

/// The generation that a sector holds, 0 for one that was never written; `None` if it holds anything else.
#[must_use]
pub fn generation_of(sector: &[u8], lba: u64) -> Option<u64> {
    if sector.iter().all(|byte| *byte == 0) {
        return Some(0);
    }
    let generation = u64::from_le_bytes(sector.get(16..24)?.try_into().ok()?);
    let mut expected = vec![0; sector.len()];
    fill(&mut expected, lba, generation);
    (expected == sector).then_some(generation)
}

/// Writes until the machine dies.
pub(super) async fn run<E: Environment>(
    environment: &E,
    load: WriteLoad,
    disk: &Disk,
) -> Result<(), Failure> {
    let failed = |why| Failure::new("write load", why);
    let geometry = disk.geometry().map_err(failed)?;
    if geometry.block_size() as usize != SECTOR {
        return Err(Failure::new("write load", "it needs sectors of 512 bytes"));
    }
    let mut bytes = vec![0; SECTOR * SECTORS_PER_WRITE as usize];
    for generation in load.first.. {
        let fua = if WriteLoad::is_forced(generation) {
            Fua::Yes
        } else {
            Fua::No
        };
        let mut writes = Vec::new();
        for place in load.places(generation, geometry.blocks()) {
            for (sector, lba) in bytes.chunks_exact_mut(SECTOR).zip(place..) {
                fill(sector, lba, generation);
            }
            let mut buffer = disk.buffer(bytes.len()).map_err(failed)?;
            // The buffer is as long as the bytes.
            let _ = buffer.copy_from(0, &bytes);
            writes.push(disk.write(place, buffer, fua));
        }
        for (result, _) in join_all(writes).await {
            result.map_err(failed)?;
        }
        if fua == Fua::No {
            disk.flush().await.map_err(failed)?;
        }
        environment.report(format_args!("flushed={generation}\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_tell_their_generation() {
        let mut sector = [0; SECTOR];
        assert_eq!(generation_of(&sector, 5), Some(0));
        fill(&mut sector, 5, 77);
        assert_eq!(generation_of(&sector, 5), Some(77));
        assert_eq!(generation_of(&sector, 6), None, "a sector at a wrong place");
        sector[511] ^= 1;
        assert_eq!(generation_of(&sector, 5), None, "a torn sector");
    }

    #[test]
    fn places_follow_from_seed_and_generation() {
        let load = WriteLoad::parse("7:3").unwrap();
        assert_eq!(load.places(9, 4096), load.places(9, 4096));
        assert_ne!(load.places(9, 4096), load.places(10, 4096));
        assert!(
            load.places(9, 4096)
                .iter()
                .all(|place| *place + SECTORS_PER_WRITE <= 4096)
        );
        for text in ["", "7", "7:0", "x:1", "1:y"] {
            assert_eq!(WriteLoad::parse(text), None, "{text}");
        }
    }
}
