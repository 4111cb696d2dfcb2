//! From a packet to a validated command.

use vmbus_core::packet::GpaRanges;
use vsc_storage::wire::{DataDirection, NtStatus, Packet, Srb};

use super::completion::ReplyTo;
use crate::memory::{GuestMemory, PAGE_SIZE};
use crate::vsp::scsi::{Address, Outcome};

/// A run of guest memory that is contiguous for the guest; wholly RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) length: u32,
}

/// The guest's buffer of one command: all of it is RAM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GuestBuffer {
    pub(super) segments: Vec<Segment>,
}

/// A command, parsed and validated, in private memory.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) reply: ReplyTo,
    pub(super) address: Address,
    pub(super) cdb: [u8; 16],
    pub(super) direction: Option<DataDirection>,
    pub(super) buffer: GuestBuffer,
    /// It has been tried before, and found no space.
    pub(super) waited: bool,
}

/// Why a command is answered without being executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The request block is cut short.
    ShortBlock,
    /// The command's length is 0 or above 16.
    CommandLength,
    /// The buffer isn't what the block says, isn't one range, or isn't all RAM.
    Buffer,
}

impl Malformed {
    /// Header status of the answer.
    pub(super) const fn status(self) -> NtStatus {
        match self {
            Self::ShortBlock | Self::Buffer => NtStatus::INVALID_PARAMETER,
            Self::CommandLength => NtStatus::IO_DEVICE_ERROR,
        }
    }
}

impl GuestBuffer {
    /// Takes the buffer that a packet names, replacing what was in `self`. Its first `length` bytes count, but
    /// all its pages have to be RAM.
    ///
    /// On an error nothing of it may be used.
    fn fill(
        &mut self,
        ranges: Option<GpaRanges<'_>>,
        length: u32,
        max_transfer: u32,
        memory: &GuestMemory,
    ) -> Result<(), Malformed> {
        self.segments.clear();
        if length == 0 {
            return Ok(());
        }
        let mut ranges = ranges.ok_or(Malformed::Buffer)?;
        let (Some(range), None) = (ranges.next(), ranges.next()) else {
            return Err(Malformed::Buffer);
        };
        if length > range.byte_count || range.byte_count > MAX_RANGE || length > max_transfer {
            return Err(Malformed::Buffer);
        }
        // Neighbouring frames become one run, which is then looked up once.
        let mut run: Option<(u64, u64)> = None;
        let mut skip = u64::from(range.byte_offset);
        let mut rest = u64::from(length);
        for frame in range.page_frames.iter() {
            run = match run {
                Some((first, count)) if first.checked_add(count) == Some(frame) => {
                    Some((first, count + 1))
                }
                finished => {
                    if let Some((first, count)) = finished {
                        self.push(first, count, &mut skip, &mut rest, memory)?;
                    }
                    Some((frame, 1))
                }
            };
        }
        if let Some((first, count)) = run {
            self.push(first, count, &mut skip, &mut rest, memory)?;
        }
        // The packet has been checked to name as many pages as its range covers.
        if rest == 0 {
            Ok(())
        } else {
            Err(Malformed::Buffer)
        }
    }

    /// Adds `count` pages from `first` on: all of them have to be RAM, and what of them counts is used.
    #[inline]
    fn push(
        &mut self,
        first: u64,
        count: u64,
        skip: &mut u64,
        rest: &mut u64,
        memory: &GuestMemory,
    ) -> Result<(), Malformed> {
        let address = first.checked_mul(PAGE_SIZE).ok_or(Malformed::Buffer)?;
        // A packet is shorter than a mebibyte, so the run's length fits by far.
        let size = count * PAGE_SIZE;
        if memory.slice(address, size as usize).is_err() {
            return self.push_pages(first, count, skip, rest, memory);
        }
        let used = (size - *skip).min(*rest);
        if used != 0 {
            self.segments.push(Segment {
                address: address + *skip,
                length: used as u32,
            });
        }
        *skip = 0;
        *rest -= used;
        Ok(())
    }

    /// As [`push`](Self::push), for a run that isn't mapped in one piece: page by page.
    #[cold]
    fn push_pages(
        &mut self,
        first: u64,
        count: u64,
        skip: &mut u64,
        rest: &mut u64,
        memory: &GuestMemory,
    ) -> Result<(), Malformed> {
        if count == 1 {
            return Err(Malformed::Buffer);
        }
        (first..first.saturating_add(count))
            .try_for_each(|frame| self.push(frame, 1, skip, rest, memory))
    }
}

/// Most bytes that a range may cover, whatever of it counts: 16 MiB at any offset in its first page.
const MAX_RANGE: u32 = 16 * 1024 * 1024 + PAGE_SIZE as u32;

impl Command {
    /// Parses and validates a command. `buffer` is recycled for its segments.
    ///
    /// On an error the buffer is given back with the reason.
    pub(super) fn parse(
        packet: &Packet,
        reply: ReplyTo,
        ranges: Option<GpaRanges<'_>>,
        max_transfer: u32,
        memory: &GuestMemory,
        mut buffer: GuestBuffer,
    ) -> Result<Self, (Malformed, GuestBuffer)> {
        let Ok(srb) = packet.srb() else {
            return Err((Malformed::ShortBlock, buffer));
        };
        let Srb {
            path_id,
            target_id,
            lun,
            cdb_length,
            ..
        } = srb;
        if !(1..=16).contains(&cdb_length) {
            return Err((Malformed::CommandLength, buffer));
        }
        let length = srb.data_transfer_length.get();
        if let Err(malformed) = buffer.fill(ranges, length, max_transfer, memory) {
            return Err((malformed, buffer));
        }
        Ok(Self {
            reply,
            address: Address {
                path: path_id,
                target: target_id,
                lun,
            },
            cdb: srb.command(),
            direction: srb.direction(),
            buffer,
            waited: false,
        })
    }
}

impl From<Malformed> for Outcome {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::ShortBlock | Malformed::CommandLength | Malformed::Buffer => Self::BAD_FIELD,
        }
    }
}
