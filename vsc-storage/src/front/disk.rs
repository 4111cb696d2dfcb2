//! One disk.

mod bytes;

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use alloc::sync::Arc;

use spin::Mutex;

use super::buffer::DmaBuffer;
use super::call::{Call, CallData, Shared};
use super::port::Way;
use crate::disk::plan::{self, Durability, Fua};
use crate::disk::{Chunk, CommandKind, DiskError, DiskInfo, Geometry};
use crate::scsi::Cdb;

/// What is known of a disk, shared by its handles.
pub(super) struct UnitState {
    info: Mutex<DiskInfo>,
    removed: AtomicBool,
}

impl UnitState {
    pub(super) const fn new(info: DiskInfo) -> Self {
        Self {
            info: Mutex::new(info),
            removed: AtomicBool::new(false),
        }
    }

    pub(super) fn info(&self) -> DiskInfo {
        *self.info.lock()
    }

    pub(super) fn set_info(&self, info: DiskInfo) {
        *self.info.lock() = info;
    }

    /// Notes a new size; `true` if it differs from the old one.
    pub(super) fn set_geometry(&self, geometry: Geometry) -> bool {
        self.info.lock().geometry.replace(geometry) != Some(geometry)
    }

    pub(super) fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
    }

    fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }
}

/// A disk. Clones are handles to the same one.
#[derive(Clone)]
pub struct Disk {
    shared: Arc<Shared>,
    unit: Arc<UnitState>,
}

impl Disk {
    pub(super) const fn new(shared: Arc<Shared>, unit: Arc<UnitState>) -> Self {
        Self { shared, unit }
    }

    /// What is known of the disk now.
    #[must_use]
    pub fn info(&self) -> DiskInfo {
        self.unit.info()
    }

    /// Its size.
    ///
    /// # Errors
    ///
    /// [`DiskError::NoMedium`] if it is a drive without a medium.
    pub fn geometry(&self) -> Result<Geometry, DiskError> {
        self.unit.info().geometry.ok_or(DiskError::NoMedium)
    }

    /// A zeroed buffer of `bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`DiskError::OutOfMemory`].
    pub fn buffer(&self, bytes: usize) -> Result<DmaBuffer, DiskError> {
        DmaBuffer::new(&self.shared.platform, bytes).ok_or(DiskError::OutOfMemory)
    }

    /// Fills the buffer's window from the disk, from logical block `lba` on. The window must be
    /// whole blocks.
    ///
    /// Gives the buffer back with the number of bytes read, which is all of them. After a failure
    /// the buffer's content means nothing.
    pub async fn read(&self, lba: u64, buffer: DmaBuffer) -> (Result<usize, DiskError>, DmaBuffer) {
        self.transfer(Way::In, lba, buffer, Fua::No).await
    }

    /// Writes the buffer's window to the disk, from logical block `lba` on. The window must be
    /// whole blocks.
    ///
    /// Gives the buffer back with the number of bytes written, which is all of them. After a
    /// failure each block holds its old or its new content.
    pub async fn write(
        &self,
        lba: u64,
        buffer: DmaBuffer,
        fua: Fua,
    ) -> (Result<usize, DiskError>, DmaBuffer) {
        self.transfer(Way::Out, lba, buffer, fua).await
    }

    /// Makes everything durable that was written before, that is: whose write had completed.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; what was written since the last successful flush may be lost, and a later
    /// flush that succeeds does not change that.
    pub async fn flush(&self) -> Result<(), DiskError> {
        let info = self.present()?;
        match plan::flush(&info)? {
            Some(command) => self.command(command, CommandKind::Flush).await,
            None => Ok(()),
        }
    }

    /// Tells the disk that the content of `blocks` blocks from `lba` on is not needed any more.
    ///
    /// # Errors
    ///
    /// [`DiskError::Unsupported`] if the disk doesn't take such hints
    /// ([`DiskInfo::discard`] is `None`).
    pub async fn unmap(&self, lba: u64, blocks: u64) -> Result<(), DiskError> {
        let info = self.present()?;
        let geometry = self.geometry()?;
        let limits = info.discard.ok_or(DiskError::Unsupported)?;
        let unmaps = plan::unmap(&geometry, &limits, lba, blocks)?;
        let mut buffer = self.buffer(plan::UNMAP_LIST_SIZE)?;
        for unmap in unmaps {
            let unmap = unmap?;
            // The buffer was made for the list.
            let _ = buffer.copy_from(0, &unmap.list);
            let bytes = u32::try_from(unmap.list.len()).unwrap_or(u32::MAX);
            let data = CallData {
                buffer,
                way: Way::Out,
                offset: 0,
                bytes,
            };
            let call = self.call(unmap.command, CommandKind::Repeatable, Some((lba, blocks)));
            let (result, back) = self.shared.call(Some(&self.unit), call, Some(data)).await;
            result?;
            buffer = back.ok_or(DiskError::OutOfMemory)?;
        }
        Ok(())
    }

    fn call(&self, command: Cdb, kind: CommandKind, range: Option<(u64, u64)>) -> Call {
        Call {
            address: self.unit.info().address,
            command,
            kind,
            range,
        }
    }

    async fn command(&self, command: Cdb, kind: CommandKind) -> Result<(), DiskError> {
        let call = self.call(command, kind, None);
        let (result, _) = self.shared.call(Some(&self.unit), call, None).await;
        result.map(|_| ())
    }

    fn present(&self) -> Result<DiskInfo, DiskError> {
        if self.unit.is_removed() {
            Err(DiskError::Gone)
        } else {
            Ok(self.unit.info())
        }
    }

    async fn transfer(
        &self,
        way: Way,
        lba: u64,
        mut buffer: DmaBuffer,
        fua: Fua,
    ) -> (Result<usize, DiskError>, DmaBuffer) {
        let planned = self.present().and_then(|info| {
            let geometry = info.geometry.ok_or(DiskError::NoMedium)?;
            if way == Way::Out && info.read_only {
                return Err(DiskError::ReadOnly);
            }
            let limit = self.shared.negotiated.max_transfer_bytes;
            let blocks = geometry.blocks_in(buffer.len())?;
            let chunks = geometry.chunks(lba, blocks, limit, info.max_transfer_blocks)?;
            Ok((chunks, plan::durability(&info, fua)))
        });
        let (chunks, durability) = match planned {
            Ok(planned) => planned,
            Err(error) => return (Err(error), buffer),
        };
        for chunk in chunks {
            let (result, back) = self.transfer_chunk(way, &chunk, durability, buffer).await;
            buffer = back;
            if let Err(error) = result {
                return (Err(error), buffer);
            }
        }
        let flushed = if way == Way::Out && durability == Durability::Flush {
            self.flush().await
        } else {
            Ok(())
        };
        (flushed.map(|()| buffer.len()), buffer)
    }

    async fn transfer_chunk(
        &self,
        way: Way,
        chunk: &Chunk,
        durability: Durability,
        buffer: DmaBuffer,
    ) -> (Result<(), DiskError>, DmaBuffer) {
        let command = match way {
            Way::In => plan::read(chunk),
            Way::Out => plan::write(chunk, durability),
        };
        let command = match command {
            Ok(command) => command,
            Err(error) => return (Err(error), buffer),
        };
        let range = (chunk.lba, u64::from(chunk.blocks));
        let call = self.call(command, CommandKind::Repeatable, Some(range));
        let data = CallData {
            buffer,
            way,
            offset: chunk.offset,
            bytes: chunk.bytes,
        };
        let (result, buffer) = self.shared.call(Some(&self.unit), call, Some(data)).await;
        // A call gives back the buffer that it was given.
        let buffer = buffer.unwrap_or_else(|| DmaBuffer::empty(&self.shared.platform));
        let result = result.and_then(|outcome| {
            if outcome.transferred == chunk.bytes {
                Ok(())
            } else {
                Err(DiskError::Short {
                    requested: chunk.bytes,
                    transferred: outcome.transferred,
                })
            }
        });
        (result, buffer)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("info", &self.unit.info())
            .finish_non_exhaustive()
    }
}
