//! Ids for requests that are under way.
//!
//! A request's transaction id comes back in its completion, from a peer that may lie. It is never a
//! pointer: it names a slot and the slot's generation, so that an id which is unknown, stale, completed
//! already, or of another table is refused instead of completing somebody else's request.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use crate::packet::{IncomingKind, IncomingPacket};

/// Requests under way, by transaction id. Fixed capacity, allocated once.
///
/// An id is `slot + 1` in its low 32 bits and the slot's generation in the high ones; 0 is never an id.
#[derive(Debug)]
pub struct TransactionTable<T> {
    slots: Vec<Slot<T>>,
    /// First slot of the free list, or `slots.len()`.
    free: u32,
    used: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Free { next: u32 },
    Used(T),
}

impl<T> TransactionTable<T> {
    /// A table for `capacity` requests at a time, at most 2³² − 2.
    ///
    /// # Panics
    /// When memory for the table cannot be had; see [`try_new`](Self::try_new).
    #[must_use]
    #[allow(clippy::expect_used, reason = "documented; not reachable by a peer")]
    pub fn new(capacity: usize) -> Self {
        Self::try_new(capacity).expect("memory for the transaction table")
    }

    /// As [`new`](Self::new), without panicking.
    ///
    /// # Errors
    /// Memory for the table cannot be had.
    pub fn try_new(capacity: usize) -> Result<Self, TryReserveError> {
        let capacity = u32::try_from(capacity)
            .unwrap_or(u32::MAX)
            .min(u32::MAX - 1);
        let mut slots = Vec::new();
        slots.try_reserve_exact(capacity as usize)?;
        slots.extend((1..=capacity).map(|next| Slot {
            generation: 0,
            state: State::Free { next },
        }));
        Ok(Self {
            slots,
            free: 0,
            used: 0,
        })
    }

    /// Requests under way.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.used
    }

    /// Whether no request is under way.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Most requests that can be under way.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Whether [`insert`](Self::insert) would fail.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.used == self.slots.len()
    }

    /// Registers a request and names it.
    ///
    /// # Errors
    /// Gives the request back when the table is full.
    #[inline]
    pub fn insert(&mut self, request: T) -> Result<u64, T> {
        let index = self.free;
        match self.slots.get_mut(index as usize) {
            Some(slot) => {
                let State::Free { next } = slot.state else {
                    return Err(request);
                };
                slot.state = State::Used(request);
                self.free = next;
                self.used += 1;
                Ok(u64::from(index + 1) | u64::from(slot.generation) << 32)
            }
            None => Err(request),
        }
    }

    /// Takes the request with this id out, once: a second time, or for any id not handed out, `None`.
    #[inline]
    pub fn remove(&mut self, id: u64) -> Option<T> {
        let index = index_of(id)?;
        let free = self.free;
        let slot = self.slot_mut(id)?;
        match core::mem::replace(&mut slot.state, State::Free { next: free }) {
            State::Used(request) => {
                slot.generation = slot.generation.wrapping_add(1);
                self.free = index;
                self.used -= 1;
                Some(request)
            }
            unused @ State::Free { .. } => {
                slot.state = unused;
                None
            }
        }
    }

    /// Takes the request out that a received packet completes: `None` unless the packet is a completion
    /// and its id that of a request under way.
    #[inline]
    pub fn complete(&mut self, packet: &IncomingPacket<'_>) -> Option<T> {
        matches!(packet.kind, IncomingKind::Completion)
            .then(|| self.remove(packet.transaction_id))
            .flatten()
    }

    /// The request with this id, if it is under way.
    #[must_use]
    #[inline]
    pub fn get(&self, id: u64) -> Option<&T> {
        let slot = self.slots.get(index_of(id)? as usize)?;
        match &slot.state {
            State::Used(request) if slot.generation == generation_of(id) => Some(request),
            _ => None,
        }
    }

    /// The request with this id, if it is under way.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        match &mut self.slot_mut(id)?.state {
            State::Used(request) => Some(request),
            State::Free { .. } => None,
        }
    }

    /// The requests under way with their ids, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        (1u64..)
            .zip(&self.slots)
            .filter_map(|(low, slot)| match &slot.state {
                State::Used(request) => Some((low | u64::from(slot.generation) << 32, request)),
                State::Free { .. } => None,
            })
    }

    /// Takes one request out, whichever; for cancelling everything when a channel closes. Its id is stale
    /// from then on.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        let id = self.iter().next().map(|(id, _)| id)?;
        self.remove(id).map(|request| (id, request))
    }

    /// The slot that `id` names, if its generation is the current one.
    #[inline]
    fn slot_mut(&mut self, id: u64) -> Option<&mut Slot<T>> {
        let slot = self.slots.get_mut(index_of(id)? as usize)?;
        (slot.generation == generation_of(id)).then_some(slot)
    }
}

#[inline]
const fn index_of(id: u64) -> Option<u32> {
    (id as u32).checked_sub(1)
}

#[inline]
const fn generation_of(id: u64) -> u32 {
    (id >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[test]
    fn fault_17_unknown_id_is_refused() {
        let mut table = TransactionTable::new(4);
        let id = table.insert("read").unwrap();
        for unknown in [id + 1, id | 1 << 32, id ^ 1 << 63, 5, u64::MAX, 0xFFFF_FFFF] {
            assert_eq!(table.remove(unknown), None, "{unknown:#x}");
            assert_eq!(table.get_mut(unknown), None);
        }
        assert_eq!(table.remove(id), Some("read"));
    }

    #[test]
    fn fault_18_duplicate_completion_is_refused() {
        let mut table = TransactionTable::new(1);
        let first = table.insert(1).unwrap();
        assert_eq!(table.remove(first), Some(1));
        assert_eq!(table.remove(first), None);
        // The slot is used again: the old id must not reach the new request.
        let second = table.insert(2).unwrap();
        assert_ne!(first, second);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&2));
    }

    #[test]
    fn fault_19_id_zero_is_never_an_id() {
        let mut table = TransactionTable::new(2);
        for round in 0..10 {
            let id = table.insert(round).unwrap();
            assert_ne!(id as u32, 0);
            assert_eq!(table.remove(0), None);
            assert_eq!(table.remove(id & !0xFFFF_FFFF), None);
            table.remove(id);
        }
    }

    #[test]
    fn fault_21_completion_after_close_is_refused() {
        let mut table = TransactionTable::new(3);
        let ids = [(); 3].map(|()| table.insert(()).unwrap());
        assert_eq!(table.insert(()), Err(()));
        let mut cancelled = 0;
        while table.pop().is_some() {
            cancelled += 1;
        }
        assert_eq!(cancelled, 3);
        for id in ids {
            assert_eq!(table.remove(id), None);
        }
    }

    proptest! {
        /// Any sequence of inserts, completions and forged completions behaves as a map.
        #[test]
        fn behaves_as_a_map(capacity in 0usize..6, steps in proptest::collection::vec((0u8..4, any::<u64>()), 0..200)) {
            let mut table = TransactionTable::new(capacity);
            let mut model = BTreeMap::new();
            let mut past = Vec::new();
            for (step, value) in steps {
                match step {
                    0 | 1 => match table.insert(value) {
                        Ok(id) => {
                            prop_assert!(!past.contains(&id));
                            past.push(id);
                            prop_assert_eq!(model.insert(id, value), None);
                        }
                        Err(back) => {
                            prop_assert_eq!(back, value);
                            prop_assert_eq!(model.len(), capacity);
                        }
                    },
                    2 if !past.is_empty() => {
                        let id = past[value as usize % past.len()];
                        prop_assert_eq!(table.remove(id), model.remove(&id));
                    }
                    _ => {
                        prop_assert_eq!(table.get(value), model.get(&value));
                        prop_assert_eq!(table.remove(value), model.remove(&value));
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.iter().all(|(id, value)| model.get(&id) == Some(value)));
            }
        }
    }
}
