//! What the disk tests share.

#![allow(dead_code)]

#[path = "../skip/mod.rs"]
mod skip;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use host_sim::disk::vhd::{self, CreateOptions, Kind, VhdDisk};
use host_sim::disk::{DiskError, DiskImage, Durability, MemoryStorage, Storage};
#[allow(unused_imports, reason = "each test uses a part")]
pub(crate) use skip::{skip, skip_part};
use vm_memory::VolatileSlice;

/// Bytes in a sector.
pub(crate) const SECTOR: u64 = 512;

/// Small blocks, so that a little disk has many.
pub(crate) const SMALL_BLOCK: Kind = Kind::Dynamic { block_size: 4096 };

/// Options that don't depend on time or chance.
pub(crate) fn fixed_options(size: u64, kind: Kind) -> CreateOptions {
    CreateOptions {
        size,
        kind,
        unique_id: *b"0123456789abcdef",
        timestamp: 0x2C00_0000,
    }
}

/// A new VHD in memory.
pub(crate) fn new_vhd(size: u64, kind: Kind) -> MemoryStorage {
    let storage = MemoryStorage::new();
    vhd::create(&storage, &fixed_options(size, kind)).unwrap();
    storage
}

/// Writes cut into slices of odd lengths.
pub(crate) fn write_in_pieces(
    disk: &dyn DiskImage,
    offset: u64,
    data: &[u8],
    cuts: &[usize],
    durability: Durability,
) -> Result<(), DiskError> {
    let mut copy = data.to_vec();
    disk.write(offset, &pieces(&mut copy, cuts), durability)
}

/// Reads into slices of odd lengths.
pub(crate) fn read_in_pieces(
    disk: &dyn DiskImage,
    offset: u64,
    into: &mut [u8],
    cuts: &[usize],
) -> Result<(), DiskError> {
    disk.read(offset, &pieces(into, cuts))
}

/// The bytes as consecutive slices of the given lengths (again and again), empty ones included.
fn pieces<'a>(mut bytes: &'a mut [u8], cuts: &[usize]) -> Vec<VolatileSlice<'a>> {
    let mut slices = Vec::new();
    for cut in cuts.iter().cycle() {
        if bytes.is_empty() || cuts.iter().all(|cut| *cut == 0) {
            break;
        }
        let (piece, rest) = bytes.split_at_mut((*cut).min(bytes.len()));
        slices.push(VolatileSlice::from(piece));
        bytes = rest;
    }
    if !bytes.is_empty() {
        slices.push(VolatileSlice::from(bytes));
    }
    slices
}

/// A sector that says which sector and which version of it this is.
pub(crate) fn stamped(sector: u64, version: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    while bytes.len() < 512 {
        bytes.extend_from_slice(&sector.to_le_bytes());
        bytes.extend_from_slice(&version.to_le_bytes());
    }
    bytes
}

/// The version in a sector that was written by [`stamped`]; 0 for zeros.
///
/// # Panics
/// The bytes are not of this sector.
pub(crate) fn version_of(sector: u64, bytes: &[u8]) -> u64 {
    if bytes.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let version = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
    assert!(
        version != 0 && bytes == stamped(sector, version),
        "sector {sector} holds foreign data: {:02x?}",
        &bytes[..32]
    );
    version
}

/// The whole disk.
pub(crate) fn content(disk: &dyn DiskImage) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.info().size).unwrap()];
    disk.read_bytes(0, &mut bytes).unwrap();
    bytes
}

/// Opens a VHD for writing that is expected to be good.
pub(crate) fn open_vhd(storage: MemoryStorage) -> VhdDisk<MemoryStorage> {
    VhdDisk::open(storage, false).unwrap()
}

/// Overwrites bytes of a storage.
pub(crate) fn patch(storage: &MemoryStorage, offset: u64, bytes: &[u8]) {
    storage.write_bytes(offset, bytes).unwrap();
}

/// Recomputes the checksum at `at` of the structure of `length` bytes at `offset`.
pub(crate) fn fix_checksum(storage: &MemoryStorage, offset: u64, length: usize, at: usize) {
    let mut bytes = vec![0; length];
    storage.read_bytes(offset, &mut bytes).unwrap();
    bytes[at..at + 4].fill(0);
    let sum = bytes
        .iter()
        .fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    patch(storage, offset + at as u64, &(!sum).to_be_bytes());
}

/// A disk behind a reference-counted pointer, as devices hold it.
pub(crate) fn shared(disk: impl DiskImage + 'static) -> Arc<dyn DiskImage> {
    Arc::new(disk)
}

/// Runs `qemu-img`; `None`, after saying so, where there is none.
pub(crate) fn qemu_img(arguments: &[&str]) -> Option<Output> {
    match Command::new("qemu-img").args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skip("qemu-img", "not found");
            None
        }
        Err(error) => panic!("qemu-img: {error}"),
    }
}

/// Whether there is a `qemu-img`, for tests of which it does only a part; says so where there is none.
pub(crate) fn has_qemu_img() -> bool {
    let found = Command::new("qemu-img").arg("--version").output().is_ok();
    if !found {
        skip_part("qemu-img", "not found");
    }
    found
}

/// Runs `qemu-img` and expects success; `false`, after saying so, where there is none.
pub(crate) fn qemu_img_succeeds(arguments: &[&str]) -> bool {
    let Some(output) = qemu_img(arguments) else {
        return false;
    };
    assert!(
        output.status.success(),
        "qemu-img {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

/// A path as a command-line argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
