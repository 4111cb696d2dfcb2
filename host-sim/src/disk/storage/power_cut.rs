//! What storage may hold after the power failed.

use super::memory::{MemoryStorage, StorageChange};
use super::random::Random;

/// Bytes that reach the medium wholly or not at all.
const ATOM: usize = 512;

/// A recorded sequence of changes, from which the states after a power cut are made.
///
/// A flush makes all earlier changes durable. Of the changes since, any subset may have reached the
/// medium, a write in 512-byte parts, and a write that extends the storage may have done so without its
/// data.
pub struct PowerCut {
    start: MemoryStorage,
    changes: Vec<StorageChange>,
}

/// One state that a power cut may leave.
pub struct CutState {
    /// The content.
    pub storage: MemoryStorage,
    /// Changes before this index are all in the content, the last of them a flush (or the index is 0).
    pub durable: usize,
    /// No change from this index on is in the content.
    pub reached: usize,
}

impl PowerCut {
    /// `start` is what the storage held before the `changes`.
    #[must_use]
    pub fn new(start: MemoryStorage, changes: Vec<StorageChange>) -> Self {
        Self { start, changes }
    }

    /// Visits states, for each stretch between flushes: every prefix of its changes, and every subset of
    /// its parts if there are at most `limit` subsets, else `limit` subsets drawn with the seed.
    ///
    /// # Panics
    /// The visitor does, or a change can't be applied.
    pub fn visit(&self, seed: u64, limit: u32, mut visitor: impl FnMut(CutState)) {
        let mut random = Random::new(seed);
        let durable_content = self.start.snapshot();
        let mut durable = 0;
        loop {
            let pending = self.changes[durable..]
                .iter()
                .take_while(|change| **change != StorageChange::Flush)
                .count();
            let reached = durable + pending;
            let stretch = &self.changes[durable..reached];
            for prefix in 0..=pending {
                let storage = durable_content.snapshot();
                apply_all(&storage, &stretch[..prefix]);
                visitor(CutState {
                    storage,
                    durable,
                    reached: durable + prefix,
                });
            }
            let size = super::Storage::size(&durable_content).expect("memory has a size");
            let parts = parts(stretch, size);
            let subsets = 1u64
                .checked_shl(u32::try_from(parts.len()).unwrap_or(u32::MAX))
                .filter(|&subsets| subsets <= u64::from(limit));
            for number in 0..subsets.unwrap_or(limit.into()) {
                let storage = durable_content.snapshot();
                // Some draws lose little, some much.
                let density = random.next();
                for (index, part) in parts.iter().enumerate() {
                    let there = match subsets {
                        Some(_) => number >> index & 1 == 1,
                        None => random.next() % 16 <= density % 17,
                    };
                    if there {
                        apply_all(&storage, std::slice::from_ref(part));
                    }
                }
                visitor(CutState {
                    storage,
                    durable,
                    reached,
                });
            }
            apply_all(&durable_content, stretch);
            if reached == self.changes.len() {
                return;
            }
            durable = reached + 1;
        }
    }
}

fn apply_all(storage: &MemoryStorage, changes: &[StorageChange]) {
    for change in changes {
        storage
            .apply(change.clone())
            .expect("a snapshot never fails");
    }
}

/// The changes in parts that are independent of each other; `size` is the storage's before them.
fn parts(changes: &[StorageChange], mut size: u64) -> Vec<StorageChange> {
    let mut parts = Vec::new();
    for change in changes {
        match change {
            StorageChange::Write { offset, data } => {
                let end = offset + data.len() as u64;
                if end > size {
                    size = end;
                    parts.push(StorageChange::SetSize(end));
                }
                let mut at = *offset;
                let mut data = data.as_slice();
                while !data.is_empty() {
                    let room = ATOM - (at % ATOM as u64) as usize;
                    let (atom, rest) = data.split_at(room.min(data.len()));
                    parts.push(StorageChange::Write {
                        offset: at,
                        data: atom.to_vec(),
                    });
                    at += atom.len() as u64;
                    data = rest;
                }
            }
            StorageChange::SetSize(new) => {
                size = *new;
                parts.push(change.clone());
            }
            StorageChange::Punch { .. } | StorageChange::Flush => parts.push(change.clone()),
        }
    }
    parts
}
