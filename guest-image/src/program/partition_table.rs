//! The GUID partition table of a disk, read as the untrusted bytes that it is.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use vmbus_core::guid::Guid;

/// Most partitions that are listed; the table itself may hold more.
pub const MOST_PARTITIONS: usize = 128;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const LEAST_HEADER: usize = 92;
const LEAST_ENTRY: usize = 128;

/// The header of the table, from logical block 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// First logical block of the entries.
    pub entries_block: u64,
    /// Entries in the table.
    pub entry_count: u32,
    /// Bytes of one entry.
    pub entry_size: u32,
    /// CRC-32 of all entries.
    pub entries_checksum: u32,
    /// The disk's GUID.
    pub disk: Guid,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// What it is for.
    pub kind: Guid,
    /// First logical block.
    pub first_block: u64,
    /// Last logical block, included.
    pub last_block: u64,
    /// Its name, control characters dropped.
    pub name: String,
}

/// Why there is no table to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTable {
    /// The block does not begin with the table's signature.
    NoSignature,
    /// A field contradicts the format; the field's name.
    Malformed(&'static str),
    /// A checksum does not match; which one.
    Checksum(&'static str),
}

impl fmt::Display for NoTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSignature => f.write_str("no GUID partition table"),
            Self::Malformed(field) => write!(f, "GUID partition table with a bad {field}"),
            Self::Checksum(part) => write!(
                f,
                "GUID partition table with a wrong checksum of its {part}"
            ),
        }
    }
}

impl core::error::Error for NoTable {}

fn bytes<const N: usize>(block: &[u8], offset: usize) -> Option<[u8; N]> {
    block.get(offset..)?.first_chunk().copied()
}

fn u32_at(block: &[u8], offset: usize) -> Option<u32> {
    bytes(block, offset).map(u32::from_le_bytes)
}

fn u64_at(block: &[u8], offset: usize) -> Option<u64> {
    bytes(block, offset).map(u64::from_le_bytes)
}

/// CRC-32 as the table uses it (reflected, polynomial 0xEDB88320), continued from `state`.
#[must_use]
pub fn crc32(state: u32, data: impl IntoIterator<Item = u8>) -> u32 {
    !data.into_iter().fold(!state, |mut crc, byte| {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
        crc
    })
}

impl Header {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// [`NoTable`] if this block holds no sound header.
    pub fn parse(block: &[u8]) -> Result<Self, NoTable> {
        let malformed = NoTable::Malformed;
        if block.get(..8) != Some(SIGNATURE) {
            return Err(NoTable::NoSignature);
        }
        let size = u32_at(block, 12).ok_or(malformed("size"))? as usize;
        let header = block
            .get(..size)
            .filter(|header| header.len() >= LEAST_HEADER);
        let header = header.ok_or(malformed("size"))?;
        let stated = u32_at(header, 16).ok_or(malformed("size"))?;
        let unsigned = header.iter().enumerate();
        let actual = crc32(
            0,
            unsigned.map(|(at, byte)| if (16..20).contains(&at) { 0 } else { *byte }),
        );
        if stated != actual {
            return Err(NoTable::Checksum("header"));
        }
        let read = || {
            Some(Self {
                entries_block: u64_at(header, 72)?,
                entry_count: u32_at(header, 80)?,
                entry_size: u32_at(header, 84)?,
                entries_checksum: u32_at(header, 88)?,
                disk: Guid::from_bytes(bytes(header, 56)?),
            })
        };
        let header = read().ok_or(malformed("size"))?;
        if !header.entry_size.is_power_of_two() || !(128..=4096).contains(&header.entry_size) {
            return Err(malformed("entry size"));
        }
        if header.entry_count == 0 || header.entry_count > 1024 {
            return Err(malformed("entry count"));
        }
        if header.entries_block < 2 {
            return Err(malformed("entries' place"));
        }
        Ok(header)
    }

    /// Bytes that all entries take.
    #[must_use]
    pub fn entries_length(&self) -> usize {
        self.entry_count as usize * self.entry_size as usize
    }

    /// Reads and checks the entries, [`entries_length`](Self::entries_length) bytes.
    ///
    /// # Errors
    /// [`NoTable`] if the entries' checksum is wrong or they are too short.
    pub fn partitions(&self, entries: &[u8]) -> Result<Vec<Partition>, NoTable> {
        let entries = entries
            .get(..self.entries_length())
            .ok_or(NoTable::Malformed("entries' length"))?;
        if crc32(0, entries.iter().copied()) != self.entries_checksum {
            return Err(NoTable::Checksum("entries"));
        }
        let all = entries
            .chunks_exact(self.entry_size as usize)
            .filter_map(Partition::parse);
        Ok(all.take(MOST_PARTITIONS).collect())
    }
}

impl Partition {
    /// Reads one entry; `None` for an unused one.
    fn parse(entry: &[u8]) -> Option<Self> {
        let kind = Guid::from_bytes(bytes(entry, 0)?);
        if kind == Guid::ZERO {
            return None;
        }
        let units = entry.get(56..LEAST_ENTRY)?.chunks_exact(2);
        let units = units.filter_map(|unit| unit.first_chunk().copied().map(u16::from_le_bytes));
        let name = char::decode_utf16(units.take_while(|unit| *unit != 0))
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .filter(|character| !character.is_control())
            .collect();
        Some(Self {
            kind,
            first_block: u64_at(entry, 32)?,
            last_block: u64_at(entry, 40)?,
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn sample() -> (Vec<u8>, Vec<u8>) {
        let mut entries = vec![0; 128 * 128];
        entries[..16].copy_from_slice(&[7; 16]);
        entries[32..40].copy_from_slice(&2048u64.to_le_bytes());
        entries[40..48].copy_from_slice(&4095u64.to_le_bytes());
        entries[56..62].copy_from_slice(&[b'a', 0, 0x1b, 0, b'b', 0]);
        let mut block = vec![0; 512];
        block[..8].copy_from_slice(SIGNATURE);
        block[12..16].copy_from_slice(&92u32.to_le_bytes());
        block[72..80].copy_from_slice(&2u64.to_le_bytes());
        block[80..84].copy_from_slice(&128u32.to_le_bytes());
        block[84..88].copy_from_slice(&128u32.to_le_bytes());
        block[88..92].copy_from_slice(&crc32(0, entries.iter().copied()).to_le_bytes());
        let checksum = crc32(0, block[..92].iter().copied());
        block[16..20].copy_from_slice(&checksum.to_le_bytes());
        (block, entries)
    }

    #[test]
    fn checksum_is_the_standard_one() {
        assert_eq!(crc32(0, *b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_table_is_listed() {
        let (block, entries) = sample();
        let partitions = Header::parse(&block).unwrap().partitions(&entries).unwrap();
        assert_eq!(partitions.len(), 1);
        assert_eq!(
            (partitions[0].first_block, partitions[0].last_block),
            (2048, 4095)
        );
        assert_eq!(partitions[0].name, "ab");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (block, entries) = sample();
        for bit in 0..92 * 8 {
            let mut bad = block.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&bad).is_err(), "header bit {bit}");
        }
        let header = Header::parse(&block).unwrap();
        for bit in (0..entries.len() * 8).step_by(997) {
            let mut bad = entries.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                header.partitions(&bad),
                Err(NoTable::Checksum("entries")),
                "entry bit {bit}"
            );
        }
        assert!(header.partitions(&entries[1..]).is_err());
    }
}
