//! Disks whose own cost is a copy of memory, or one system call on cached pages.

use std::fs::File;
use std::sync::Arc;

use host_sim::disk::{DiskImage, FileStorage, RawDisk, RawOptions};
use host_sim::vsp::storage::testing::MemoryDisk;

/// Bytes on every measured disk: more than the first caches of a processor, and quickly filled.
pub(crate) const SIZE: u64 = 16 << 20;
/// Bytes of one request.
pub(crate) const REQUEST: u64 = 4096;
/// Bytes of a logical block.
pub(crate) const BLOCK: u64 = 512;

/// A disk in anonymous memory.
pub(crate) fn memory() -> Arc<dyn DiskImage> {
    fill(Arc::new(MemoryDisk::new(SIZE)))
}

/// A disk in a file without a name, which stays in the page cache.
pub(crate) fn file() -> Arc<dyn DiskImage> {
    let file: File = tempfile::tempfile().expect("a temporary file");
    file.set_len(SIZE).expect("room for the disk");
    let storage = FileStorage::new(file).expect("a regular file");
    let options = RawOptions {
        logical_sector_size: 512,
        physical_sector_size: 4096,
        read_only: false,
        identity: *b"viridian-measure",
        discard: false,
    };
    fill(Arc::new(
        RawDisk::new(storage, options).expect("a valid size"),
    ))
}

/// Writes every request's number into each of its words.
fn fill(image: Arc<dyn DiskImage>) -> Arc<dyn DiskImage> {
    for number in 0..SIZE / REQUEST {
        let content = number.to_le_bytes().repeat(REQUEST as usize / 8);
        image
            .write_bytes(number * REQUEST, &content)
            .expect("a write within the disk");
    }
    image
}
