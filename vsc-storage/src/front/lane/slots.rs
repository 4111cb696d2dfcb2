//! Who waits for which request.

use core::mem;
use core::task::Waker;

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use super::super::buffer::DmaBuffer;
use crate::queue::Outcome;

/// A request's place between its submission and the moment that its owner takes the outcome.
/// Fixed in number, allocated once.
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: u32,
}

enum Slot {
    Free {
        next: u32,
    },
    InFlight {
        waker: Option<Waker>,
    },
    /// Nobody waits; the buffer stays until the host is done with it.
    Abandoned {
        buffer: Option<DmaBuffer>,
    },
    Done {
        outcome: Outcome,
        /// The host may still access the buffer.
        exposed: bool,
    },
}

/// What a completion sets free, to be woken or dropped when no lock is held.
#[derive(Default)]
pub(super) struct Released {
    pub(super) waker: Option<Waker>,
    pub(super) buffer: Option<DmaBuffer>,
}

impl Slots {
    pub(super) fn new(capacity: usize) -> Result<Self, TryReserveError> {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        let mut slots = Vec::new();
        slots.try_reserve_exact(usize::try_from(capacity).unwrap_or(usize::MAX))?;
        slots.extend((1..=capacity).map(|next| Slot::Free { next }));
        Ok(Self { slots, free: 0 })
    }

    fn get(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(slot).ok()?)
    }

    /// Takes a slot; `None` if all are taken.
    pub(super) fn take(&mut self) -> Option<u32> {
        let index = self.free;
        let slot = self.get(index)?;
        let Slot::Free { next } = *slot else {
            return None;
        };
        *slot = Slot::InFlight { waker: None };
        self.free = next;
        Some(index)
    }

    /// Gives a slot back whose request was not sent.
    pub(super) fn give_back(&mut self, slot: u32) {
        let next = self.free;
        if let Some(place) = self.get(slot) {
            *place = Slot::Free { next };
            self.free = slot;
        }
    }

    /// The outcome, once. The second value says that the host may still access the buffer.
    pub(super) fn outcome(&mut self, slot: u32) -> Option<(Outcome, bool)> {
        match self.get(slot)? {
            Slot::Done { outcome, exposed } => {
                let result = (*outcome, *exposed);
                self.give_back(slot);
                Some(result)
            }
            _ => None,
        }
    }

    /// Remembers whom to wake; returns the waker that was remembered before, if it is another.
    #[must_use]
    pub(super) fn wait(&mut self, slot: u32, waker: &Waker) -> Option<Waker> {
        match self.get(slot) {
            Some(Slot::InFlight { waker: Some(old) }) if old.will_wake(waker) => None,
            Some(Slot::InFlight { waker: place }) => place.replace(waker.clone()),
            _ => None,
        }
    }

    /// Nobody waits for the request any more. While it is in flight its buffer is kept.
    #[must_use]
    pub(super) fn abandon(&mut self, slot: u32, buffer: Option<DmaBuffer>) -> Released {
        match self.get(slot) {
            Some(place @ Slot::InFlight { .. }) => {
                let old = mem::replace(place, Slot::Abandoned { buffer });
                let Slot::InFlight { waker } = old else {
                    return Released::default();
                };
                Released {
                    waker,
                    buffer: None,
                }
            }
            Some(Slot::Done { exposed, .. }) => {
                let exposed = *exposed;
                self.give_back(slot);
                Released {
                    waker: None,
                    buffer: leaked_if(exposed, buffer),
                }
            }
            _ => Released {
                waker: None,
                buffer: leaked_if(true, buffer),
            },
        }
    }

    /// The request is over.
    #[must_use]
    pub(super) fn complete(&mut self, slot: u32, outcome: Outcome, exposed: bool) -> Released {
        match self.get(slot) {
            Some(place @ Slot::InFlight { .. }) => {
                let old = mem::replace(place, Slot::Done { outcome, exposed });
                let Slot::InFlight { waker } = old else {
                    return Released::default();
                };
                Released {
                    waker,
                    buffer: None,
                }
            }
            Some(Slot::Abandoned { buffer }) => {
                let buffer = buffer.take();
                self.give_back(slot);
                Released {
                    waker: None,
                    buffer: leaked_if(exposed, buffer),
                }
            }
            _ => Released::default(),
        }
    }
}

fn leaked_if(exposed: bool, mut buffer: Option<DmaBuffer>) -> Option<DmaBuffer> {
    if exposed && let Some(buffer) = &mut buffer {
        buffer.leak();
    }
    buffer
}

impl Drop for Slots {
    fn drop(&mut self) {
        // The channel was not closed in order: the host may still access these.
        for slot in &mut self.slots {
            if let Slot::Abandoned {
                buffer: Some(buffer),
            } = slot
            {
                buffer.leak();
            }
        }
    }
}
