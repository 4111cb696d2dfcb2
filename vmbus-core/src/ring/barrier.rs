//! The one ordering that rings need beyond release and acquire: *store mine, then load the peer's*.
//!
//! Every hand-off of the ring is of that form on both ends (write index against interrupt mask, mask
//! against write index, read index against pending size, pending size against read index): each end
//! stores its own word, then looks at the other's, and at least one of the two must see the other. That
//! takes a full barrier between store and load.
//!
//! The cheapest correct one is no separate fence at all: the store and the loads after it are sequentially
//! consistent accesses. On x86-64 such a store is one `xchg` with the index itself, which publishes and
//! orders at once (about 7 ns on a 2023 server), and the loads are plain `mov`. A store followed by a
//! locked operation on the stack, which is what compilers make of a fence, costs the same or a little
//! more; one followed by `mfence` costs two to three times as much. On AArch64 the pair becomes `stlr` and
//! `ldar`, which are not reordered with each other, where a fence would be a `dmb ish`. A peer that uses
//! plain accesses and explicit full barriers, as C drivers do, pairs correctly with either.
//!
//! Each commit, of either end, has exactly one such barrier, whatever number of packets it covers.
//!
//! `loom` treats sequentially consistent *accesses* as mere acquire and release and models only the fence,
//! so the models are run with a fence in its place.

#[cfg(not(loom))]
pub(super) use core::sync::atomic::{AtomicU32, Ordering};
#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicU32, Ordering};

/// Stores `value` with a full barrier after it: everything before is visible to whoever sees the store,
/// and no later [`observe`] is done before the store is visible.
#[inline]
pub(super) fn publish(word: &AtomicU32, value: u32) {
    #[cfg(test)]
    tests::COUNT.with(|count| count.set(count.get() + 1));
    #[cfg(not(loom))]
    word.store(value, Ordering::SeqCst);
    #[cfg(loom)]
    {
        word.store(value, Ordering::Release);
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// Loads a word of the peer; sees at least everything that the peer published before an own
/// [`publish`] that it did not see.
#[inline]
pub(super) fn observe(word: &AtomicU32) -> u32 {
    #[cfg(not(loom))]
    return word.load(Ordering::SeqCst);
    #[cfg(loom)]
    return word.load(Ordering::Acquire);
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::cell::Cell;

    use crate::packet::{OutgoingKind, OutgoingPacket};
    use crate::ring::testing::HeapRing;
    use crate::ring::{IncomingRing, OutgoingRing};

    std::thread_local! {
        /// Full barriers that this thread has passed.
        pub(super) static COUNT: Cell<u32> = const { Cell::new(0) };
    }

    fn barriers_of<R>(run: impl FnOnce() -> R) -> u32 {
        let before = COUNT.get();
        run();
        COUNT.get() - before
    }

    #[test]
    fn one_barrier_for_each_commit_and_hand_off() {
        let memory = HeapRing::new(4096);
        let mut outgoing = OutgoingRing::initialise(memory.clone());
        let mut incoming = IncomingRing::attach(memory).unwrap();
        let packet = OutgoingPacket {
            transaction_id: 1,
            completion_requested: true,
            kind: OutgoingKind::InBand,
            payload: &[&[7; 64]],
        };
        for packets in [1, 16] {
            let written = barriers_of(|| {
                let mut batch = outgoing.batch().unwrap();
                for _ in 0..packets {
                    batch.push(&packet).unwrap();
                }
                batch.commit()
            });
            let read = barriers_of(|| {
                let mut batch = incoming.batch().unwrap();
                while batch.next(&mut [0; 64]).unwrap().is_some() {}
                batch.commit()
            });
            assert_eq!((written, read), (1, 1));
        }
        assert_eq!(barriers_of(|| incoming.mask_interrupts()), 1);
        assert_eq!(barriers_of(|| incoming.unmask_interrupts()), 1);
        assert_eq!(barriers_of(|| outgoing.announce_blocked(4088)), 1);
        assert_eq!(barriers_of(|| outgoing.free_space()), 0);
        assert_eq!(barriers_of(|| incoming.has_data()), 0);
        assert_eq!(barriers_of(|| outgoing.batch().unwrap().commit()), 0);
        assert_eq!(barriers_of(|| incoming.batch().unwrap().commit()), 0);
    }
}
