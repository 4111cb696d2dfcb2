//! GPADLs: lists of guest pages that a guest lends to a channel, assembled from its messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;
use vmbus_core::protocol::{ChannelId, GpadlBody, GpadlHeader, GpadlId};

use crate::memory::{GuestMemory, PAGE_SIZE};

/// Bytes of a word of the range list.
const WORD: usize = 8;

/// Most lists that may be incomplete at once: guests build one for each channel that they open at the same time.
const MAX_BUILDING: usize = 256;

/// One contiguous piece of the lent memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpadlRange {
    /// Bytes in the range; never 0.
    pub byte_count: u32,
    /// Offset of the first byte in the first page; less than 4096.
    pub byte_offset: u32,
    /// The pages that it touches, all of them RAM.
    pub page_frames: Box<[u64]>,
}

/// A complete GPADL.
#[derive(Debug, PartialEq, Eq)]
pub struct Gpadl {
    /// The channel that the memory is lent to.
    pub channel_id: ChannelId,
    /// The ranges, at least one.
    pub ranges: Vec<GpadlRange>,
}

/// Why a GPADL is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GpadlFault {
    /// The id is one of a live GPADL.
    #[error("GPADL id {0:#x} is in use")]
    InUse(u32),
    /// Too many are being built at once, or live.
    #[error("more than {0} GPADLs")]
    TooMany(usize),
    /// All live ones together would have more pages than allowed.
    #[error("more than {0} pages lent")]
    TooManyPages(u64),
    /// The announced list is empty or no whole number of 8-byte words.
    #[error("range list of {0} bytes")]
    Length(u16),
    /// The announced number of ranges is 0, or more than the list can hold.
    #[error("{0} ranges")]
    RangeCount(u16),
    /// A range's count is 0, its offset is a page or more, or their sum overflows.
    #[error("range of {byte_count} bytes at offset {byte_offset}")]
    Range {
        /// Bytes in the range.
        byte_count: u32,
        /// Offset in the first page.
        byte_offset: u32,
    },
    /// The list ends before a range's pages do.
    #[error("the list ends before the pages of a range of {byte_count} bytes")]
    Truncated {
        /// Bytes in the range.
        byte_count: u32,
    },
    /// A page is not RAM.
    #[error("page frame {0:#x} is not RAM")]
    NotRam(u64),
}

/// Limits on what one guest may lend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpadlLimits {
    /// GPADLs, complete or not.
    pub count: usize,
    /// Pages of all complete ones.
    pub pages: u64,
}

impl Default for GpadlLimits {
    /// What Windows Server 2019 allows: about 1280 MiB; and a count that no guest needs.
    fn default() -> Self {
        Self {
            count: 4096,
            pages: (1280 << 20) / PAGE_SIZE,
        }
    }
}

#[derive(Debug)]
enum Entry {
    Building {
        channel_id: ChannelId,
        range_count: u16,
        length: usize,
        list: Vec<u8>,
    },
    Complete {
        gpadl: Arc<Gpadl>,
        pages: u64,
    },
}

/// What a message about a GPADL led to.
#[derive(Debug)]
pub enum Progress {
    /// More messages are to come.
    Incomplete,
    /// The guest is to be told that it was accepted or, with a fault, that it does not exist.
    Finished(ChannelId, Result<(), GpadlFault>),
    /// A continuation of nothing: there is nobody to tell.
    Unknown,
}

/// The GPADLs of one connection.
#[derive(Debug)]
pub struct GpadlTable {
    limits: GpadlLimits,
    entries: BTreeMap<GpadlId, Entry>,
    pages: u64,
    /// Entries that are not complete.
    building: usize,
}

impl GpadlTable {
    /// An empty table.
    #[must_use]
    pub fn new(limits: GpadlLimits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            pages: 0,
            building: 0,
        }
    }

    /// GPADLs, complete or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Pages of all complete GPADLs.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Takes the first message of a GPADL.
    pub fn begin(&mut self, header: &GpadlHeader<'_>, memory: &GuestMemory) -> Progress {
        let refuse = |fault| Progress::Finished(header.channel_id, Err(fault));
        let length = usize::from(header.range_bytes);
        if self.entries.contains_key(&header.gpadl_id) {
            return refuse(GpadlFault::InUse(header.gpadl_id.0));
        }
        if self.entries.len() >= self.limits.count {
            return refuse(GpadlFault::TooMany(self.limits.count));
        }
        if self.building >= MAX_BUILDING {
            return refuse(GpadlFault::TooMany(MAX_BUILDING));
        }
        // The shortest list is one range of one page.
        if length < 2 * WORD || !length.is_multiple_of(WORD) {
            return refuse(GpadlFault::Length(header.range_bytes));
        }
        if header.range_count == 0 || usize::from(header.range_count) > length / (2 * WORD) {
            return refuse(GpadlFault::RangeCount(header.range_count));
        }
        self.building += 1;
        self.entries.insert(
            header.gpadl_id,
            Entry::Building {
                channel_id: header.channel_id,
                range_count: header.range_count,
                length,
                list: Vec::with_capacity(length),
            },
        );
        self.extend(header.gpadl_id, header.data, memory)
    }

    /// Takes a further message of a GPADL.
    pub fn continue_with(&mut self, body: &GpadlBody<'_>, memory: &GuestMemory) -> Progress {
        self.extend(body.gpadl_id, body.data, memory)
    }

    fn extend(&mut self, id: GpadlId, data: &[u8], memory: &GuestMemory) -> Progress {
        let Some(Entry::Building {
            channel_id,
            range_count,
            length,
            list,
        }) = self.entries.get_mut(&id)
        else {
            return Progress::Unknown;
        };
        // What lies beyond the announced length is ignored.
        let wanted = data.len().min(*length - list.len());
        list.extend_from_slice(&data[..wanted]);
        if list.len() < *length {
            return Progress::Incomplete;
        }
        self.building -= 1;
        let channel_id = *channel_id;
        let parsed = parse(list, *range_count, memory).and_then(|ranges| {
            let pages: u64 = ranges
                .iter()
                .map(|range| range.page_frames.len() as u64)
                .sum();
            match self.pages.checked_add(pages) {
                Some(sum) if sum <= self.limits.pages => Ok((ranges, pages)),
                _ => Err(GpadlFault::TooManyPages(self.limits.pages)),
            }
        });
        match parsed {
            Ok((ranges, pages)) => {
                self.pages += pages;
                let gpadl = Arc::new(Gpadl { channel_id, ranges });
                self.entries.insert(id, Entry::Complete { gpadl, pages });
                Progress::Finished(channel_id, Ok(()))
            }
            Err(fault) => {
                self.entries.remove(&id);
                Progress::Finished(channel_id, Err(fault))
            }
        }
    }

    /// A complete GPADL.
    #[must_use]
    pub fn get(&self, id: GpadlId) -> Option<&Arc<Gpadl>> {
        match self.entries.get(&id) {
            Some(Entry::Complete { gpadl, .. }) => Some(gpadl),
            _ => None,
        }
    }

    /// Whether a device uses a complete GPADL: holds a reference to it.
    #[must_use]
    pub fn is_lent(&self, id: GpadlId) -> bool {
        self.get(id)
            .is_some_and(|gpadl| Arc::strong_count(gpadl) > 1)
    }

    /// Forgets a complete GPADL; `false` if there is no such one.
    pub fn remove(&mut self, id: GpadlId) -> bool {
        match self.entries.get(&id) {
            Some(Entry::Complete { pages, .. }) => {
                self.pages -= *pages;
                self.entries.remove(&id);
                true
            }
            _ => false,
        }
    }

    /// Forgets all GPADLs of one channel.
    pub fn remove_channel(&mut self, channel: ChannelId) {
        let (pages, building) = (&mut self.pages, &mut self.building);
        self.entries.retain(|_, entry| match entry {
            Entry::Building { channel_id, .. } => {
                let keep = *channel_id != channel;
                if !keep {
                    *building -= 1;
                }
                keep
            }
            Entry::Complete {
                gpadl,
                pages: count,
            } => {
                let keep = gpadl.channel_id != channel;
                if !keep {
                    *pages -= *count;
                }
                keep
            }
        });
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.pages = 0;
        self.building = 0;
    }
}

/// Reads a complete range list. Words after the last range are ignored, as real hosts do.
fn parse(list: &[u8], count: u16, memory: &GuestMemory) -> Result<Vec<GpadlRange>, GpadlFault> {
    let mut words = list.chunks_exact(WORD).map(|word| {
        let mut bytes = [0; WORD];
        bytes.copy_from_slice(word);
        u64::from_le_bytes(bytes)
    });
    let mut ranges = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let head = words.next().ok_or(GpadlFault::RangeCount(count))?;
        let (byte_count, byte_offset) = (head as u32, (head >> 32) as u32);
        let end = byte_offset.checked_add(byte_count);
        let (Some(end), true) = (end, byte_count != 0 && u64::from(byte_offset) < PAGE_SIZE) else {
            return Err(GpadlFault::Range {
                byte_count,
                byte_offset,
            });
        };
        let pages = end.div_ceil(PAGE_SIZE as u32) as usize;
        if pages > words.len() {
            return Err(GpadlFault::Truncated { byte_count });
        }
        let page_frames: Box<[u64]> = words.by_ref().take(pages).collect();
        if let Some(&frame) = page_frames
            .iter()
            .find(|frame| !memory.is_ram_page(**frame))
        {
            return Err(GpadlFault::NotRam(frame));
        }
        ranges.push(GpadlRange {
            byte_count,
            byte_offset,
            page_frames,
        });
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests;
