//! Memory of a channel: its rings, and what a driver lends besides.

use alloc::sync::Arc;
use core::fmt;
use core::ptr::NonNull;

use hypercall::Processor;

use super::{Channel, Memory};
use crate::bus::{BusError, ReplyKey, Shared, SharedMemory};
use crate::connection::{ChannelKey, RequestError};
use crate::gpadl::GpadlList;
use crate::platform::Runtime;
use crate::protocol::GpadlId;
use crate::ring::{ControlPage, FlatRing, RingMemory};

/// Memory of one ring of a channel. Keeps the pages as long as it lives.
pub struct ChannelRing<R: Runtime> {
    flat: FlatRing,
    _memory: Memory<R>,
}

impl<R: Runtime> fmt::Debug for ChannelRing<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.flat.fmt(f)
    }
}

impl<R: Runtime> ChannelRing<R> {
    /// The ring of `pages` pages from page `first` of the memory on; `None` if it has not so many, or the
    /// ring has less than two.
    pub(super) fn new(memory: &Memory<R>, first: u32, pages: u32) -> Option<Self> {
        let end = first.checked_add(pages)?;
        if pages < 2 || end as usize > memory.page_count() {
            return None;
        }
        // SAFETY: the pages lie within the memory, which is page-aligned, mapped, and kept by the value;
        // nobody has references to it other than to atomics.
        let flat = unsafe {
            let base = memory
                .base()
                .add(first as usize * crate::platform::PAGE_SIZE);
            FlatRing::new(base, pages)
        };
        Some(Self {
            flat,
            _memory: memory.clone(),
        })
    }
}

// SAFETY: everything is that of `FlatRing`, whose pages the value keeps.
unsafe impl<R: Runtime> RingMemory for ChannelRing<R> {
    #[inline]
    fn data_size(&self) -> u32 {
        self.flat.data_size()
    }

    #[inline]
    fn control(&self) -> &ControlPage {
        self.flat.control()
    }

    #[inline]
    fn read(&self, offset: u32, into: &mut [u8]) {
        self.flat.read(offset, into);
    }

    #[inline]
    fn write(&self, offset: u32, from: &[u8]) {
        self.flat.write(offset, from);
    }

    #[inline]
    fn contiguous(&self, offset: u32) -> Option<(NonNull<u8>, u32)> {
        self.flat.contiguous(offset)
    }
}

/// Memory that a driver has lent to the host beside the rings, such as a network adapter's receive buffer.
///
/// The host may read and write it at any time. It is given back when the channel is closed or by
/// [`take_back`](Self::take_back); the pages are freed when both the host and this value have let go.
pub struct LentMemory<R: Runtime, C: Processor> {
    shared: Arc<Shared<R, C>>,
    channel: ChannelKey,
    gpadl: GpadlId,
    memory: Memory<R>,
}

impl<R: Runtime, C: Processor> fmt::Debug for LentMemory<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentMemory")
            .field("channel", &self.channel)
            .field("gpadl", &self.gpadl)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime, C: Processor> LentMemory<R, C> {
    /// Its name in packets to the host.
    #[must_use]
    pub const fn gpadl(&self) -> GpadlId {
        self.gpadl
    }

    /// The first byte. To be accessed through [`shared`](crate::shared) copies or atomics only.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.memory.base()
    }

    /// Number of pages.
    #[must_use]
    pub fn page_count(&self) -> usize {
        self.memory.page_count()
    }

    /// Takes the memory back.
    ///
    /// # Errors
    /// [`RequestError`] when the host does not give it back: it is leaked.
    pub async fn take_back(self) -> Result<(), RequestError> {
        let shared = &*self.shared;
        let key = ReplyKey::Released(self.gpadl);
        let _waiting = shared.expect(key);
        let lent = shared.with(|state, now| {
            let deadline = Shared::<R, C>::request_deadline(state, now);
            if !state.memory.contains_key(&self.gpadl) {
                return Ok(false);
            }
            state
                .connection
                .teardown_gpadl(self.channel, self.gpadl, deadline)
                .map(|()| true)
        })?;
        if lent {
            shared.request_reply(key).await?;
        }
        Ok(())
    }
}

impl<R: Runtime, C: Processor> Channel<R, C> {
    /// Lends `pages` fresh, zeroed pages to the host.
    ///
    /// # Errors
    /// [`BusError`] with the reason.
    pub async fn lend(&self, pages: usize) -> Result<LentMemory<R, C>, BusError> {
        let shared = &self.shared;
        let memory = SharedMemory::allocate(shared.runtime.clone(), pages)
            .map(Arc::new)
            .ok_or(BusError::OutOfMemory)?;
        let gpadl = lend(shared, self.key, &memory).await?;
        Ok(LentMemory {
            shared: shared.clone(),
            channel: self.key,
            gpadl,
            memory,
        })
    }
}

/// Lends memory to a channel and waits until it is established.
pub(super) async fn lend<R: Runtime, C: Processor>(
    shared: &Shared<R, C>,
    channel: ChannelKey,
    memory: &Memory<R>,
) -> Result<GpadlId, BusError> {
    let list = GpadlList::of_pages(memory.frames())?;
    let gpadl = shared.with(|state, now| {
        let deadline = Shared::<R, C>::request_deadline(state, now);
        let gpadl = state.connection.create_gpadl(channel, list, deadline)?;
        // Before the first message is posted.
        memory.set_host_sees(true);
        state.memory.insert(gpadl, memory.clone());
        state.expect(ReplyKey::Created(gpadl));
        Ok::<_, RequestError>(gpadl)
    })?;
    let key = ReplyKey::Created(gpadl);
    let _waiting = shared.waiting(key);
    shared.request_reply(key).await?;
    Ok(gpadl)
}
