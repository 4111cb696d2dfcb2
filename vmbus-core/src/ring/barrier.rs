//! The one ordering that rings need beyond release and acquire: *store mine, then load the peer's*.
//!
//! Every hand-off of the ring is of that form on both ends (write index against interrupt mask, mask
//! against write index, read index against pending size, pending size against read index): each end
//! stores its own word, then looks at the other's, and at least one of the two must see the other. That
//! takes a full barrier between store and load.
//!
//! The cheapest correct one is no separate fence at all: the store and the loads after it are sequentially
//! consistent accesses. On x86-64 such a store is one `xchg` with the index itself, which publishes and
//! orders at once, and the loads are plain `mov`; a relaxed store followed by `mfence` does the same and
//! costs about twice as much, one followed by a locked operation on the stack costs the extra store. On
//! AArch64 the pair becomes `stlr` and `ldar`, which are not reordered with each other, where a fence
//! would be a `dmb ish`. A peer that uses stores and explicit full barriers pairs correctly with either.
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
