//! Byte ranges of any alignment, through a buffer of the disk's own.

use super::{Disk, Fua};
use crate::disk::DiskError;
use crate::front::DmaBuffer;

/// Bytes that are moved at once.
const BOUNCE_SIZE: usize = 64 << 10;

/// The part of a byte range that goes through the buffer at once.
struct Piece {
    /// First block.
    lba: u64,
    /// Bytes in front of the range in that block.
    before: usize,
    /// Bytes of the range.
    bytes: usize,
    /// Bytes of all blocks that it touches.
    span: usize,
}

impl Disk {
    /// Reads bytes from byte `offset` of the disk on. Copies them; [`read`](Self::read) does not.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; part of `into` may have been filled.
    pub async fn read_bytes(&self, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let mut buffer = self.buffer(BOUNCE_SIZE)?;
        let mut at = offset;
        let mut rest = into;
        while !rest.is_empty() {
            let piece = self.piece(at, rest.len())?;
            let (now, later) = rest
                .split_at_mut_checked(piece.bytes)
                .ok_or(DiskError::OutOfMemory)?;
            buffer = self.read_piece(&piece, buffer).await?;
            let _ = buffer.copy_to(piece.before, now);
            rest = later;
            at = at.saturating_add(to_u64(piece.bytes));
        }
        Ok(())
    }

    /// Writes bytes from byte `offset` of the disk on. Blocks that are covered in part are read
    /// first; nobody else may be writing to them meanwhile.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; part of the range may have been written.
    pub async fn write_bytes(&self, offset: u64, from: &[u8], fua: Fua) -> Result<(), DiskError> {
        let mut buffer = self.buffer(BOUNCE_SIZE)?;
        let mut at = offset;
        let mut rest = from;
        while !rest.is_empty() {
            let piece = self.piece(at, rest.len())?;
            let (now, later) = rest
                .split_at_checked(piece.bytes)
                .ok_or(DiskError::OutOfMemory)?;
            if piece.span == piece.bytes {
                window(&mut buffer, &piece)?;
            } else {
                buffer = self.read_piece(&piece, buffer).await?;
            }
            let _ = buffer.copy_from(piece.before, now);
            let (result, back) = self.write(piece.lba, buffer, fua).await;
            result?;
            buffer = back;
            rest = later;
            at = at.saturating_add(to_u64(piece.bytes));
        }
        Ok(())
    }

    async fn read_piece(
        &self,
        piece: &Piece,
        mut buffer: DmaBuffer,
    ) -> Result<DmaBuffer, DiskError> {
        window(&mut buffer, piece)?;
        let (result, buffer) = self.read(piece.lba, buffer).await;
        result.map(|_| buffer)
    }

    fn piece(&self, at: u64, rest: usize) -> Result<Piece, DiskError> {
        let geometry = self.geometry()?;
        let size = u64::from(geometry.block_size());
        let before = at.checked_rem(size).unwrap_or(0);
        let lba = at.checked_div(size).unwrap_or(0);
        let before = usize::try_from(before).unwrap_or(0);
        // Blocks are at most 4096 bytes long.
        let bytes = rest.min(BOUNCE_SIZE.saturating_sub(before));
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let span = before
            .saturating_add(bytes)
            .checked_next_multiple_of(size)
            .unwrap_or(usize::MAX);
        Ok(Piece {
            lba,
            before,
            bytes,
            span,
        })
    }
}

fn window(buffer: &mut DmaBuffer, piece: &Piece) -> Result<(), DiskError> {
    buffer
        .set_window(0, piece.span)
        .map_err(|_| DiskError::OutOfMemory)
}

fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
