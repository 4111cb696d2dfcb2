//! Media for optical drives.

use std::path::Path;
use std::sync::Arc;

use super::open::{OpenError, identity_of, open_storage};
use super::{DiskImage, OpenReason, RawDisk};

/// Bytes in a block of a medium for optical drives.
pub const ISO_BLOCK_SIZE: u32 = 2048;

/// Most blocks of a medium: their number has to fit 32 bits.
pub(super) const MAX_BLOCKS: u64 = u32::MAX as u64;

/// Opens an ISO image (or a host's drive with a disc in it) as a medium for an optical drive. It is only ever read;
/// what follows the last whole block of 2048 bytes is left out.
///
/// # Errors
/// One sentence with path and reason.
pub fn open_iso(path: &Path) -> Result<Arc<dyn DiskImage>, OpenError> {
    open_medium(path).map_err(|reason| OpenError {
        path: path.to_owned(),
        reason,
    })
}

fn open_medium(path: &Path) -> Result<Arc<dyn DiskImage>, OpenReason> {
    let storage = open_storage(path, true)?;
    let identity = identity_of(&std::fs::canonicalize(path)?);
    Ok(Arc::new(RawDisk::medium(storage, identity)?))
}
