//! Media for optical drives.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use host_sim::disk::{DiskError, ISO_BLOCK_SIZE, OpenOptions, OpenReason, open, open_iso};

fn file_of(directory: &Path, bytes: &[u8]) -> PathBuf {
    let path = directory.join("disc.iso");
    fs::write(&path, bytes).unwrap();
    path
}

fn sparse(directory: &Path, size: u64) -> PathBuf {
    let path = directory.join("sparse.iso");
    File::create(&path).unwrap().set_len(size).unwrap();
    path
}

/// D.0, C.10: media are read in whole blocks of 2048 bytes, never written, and have a size that a drive can tell.
#[test]
fn media_for_optical_drives() {
    let directory = tempfile::tempdir().unwrap();
    let path = file_of(directory.path(), &[7; 5 * 2048 + 100]);
    let medium = open_iso(&path).unwrap();
    let info = medium.info();
    assert_eq!(
        (info.size, info.logical_sector_size),
        (5 * 2048, ISO_BLOCK_SIZE)
    );
    assert!(info.read_only && !info.discard && !info.volatile_cache);
    let mut block = [0; 2048];
    medium.read_bytes(4 * 2048, &mut block).unwrap();
    assert_eq!(block, [7; 2048]);
    assert_eq!(medium.write_bytes(0, &block), Err(DiskError::ReadOnly));
    assert!(medium.read_bytes(5 * 2048, &mut block).is_err());
    // Several may read it, nobody may write it meanwhile.
    open_iso(&path).unwrap();
    let writer = open(&path, &OpenOptions::default()).err().unwrap();
    assert!(
        matches!(writer.reason, OpenReason::Locked { .. }),
        "{writer}"
    );
    drop(medium);
    for size in [0, 2047, (1 << 32) * 2048] {
        let path = sparse(directory.path(), size);
        let refused = open_iso(&path).err().unwrap();
        assert_eq!(refused.reason, OpenReason::MediumSize { size });
        let text = refused.to_string();
        assert!(
            text.contains("sparse.iso") && text.contains(&size.to_string()),
            "{text}"
        );
        fs::remove_file(&path).unwrap();
    }
    let path = sparse(directory.path(), ((1 << 32) - 1) * 2048);
    assert_eq!(open_iso(&path).unwrap().info().size, ((1 << 32) - 1) * 2048);
    assert!(open_iso(&directory.path().join("none")).is_err());
    assert!(open_iso(directory.path()).is_err());
}
