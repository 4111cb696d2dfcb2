//! A list of ranges, cut into messages.

use zerocopy::IntoBytes;

use super::GpadlList;
use crate::protocol::{
    ChannelId, GPADL_BODY_BYTES, GPADL_HEADER_BYTES, GpadlBody, GpadlHeader, GpadlId, GuestMessage,
};

/// The messages that tell a host about a GPADL: one header, then bodies.
///
/// An iterator whose items borrow from it, so that nothing is copied or allocated:
///
/// ```
/// use vmbus_core::gpadl::{GpadlList, GpadlMessages};
/// use vmbus_core::protocol::{ChannelId, GpadlId};
///
/// let list = GpadlList::of_pages((0..27u32).map(u64::from))?;
/// let mut messages = GpadlMessages::new(ChannelId(1), GpadlId(2), list);
/// let mut count = 0;
/// while let Some(message) = messages.next() {
///     count += 1;
/// }
/// assert_eq!(count, 2, "26 pages fit the header");
/// # Ok::<(), vmbus_core::gpadl::GpadlError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GpadlMessages {
    channel_id: ChannelId,
    gpadl_id: GpadlId,
    list: GpadlList,
    /// Words that have been emitted.
    done: usize,
    /// Messages that have been emitted.
    messages: u32,
}

impl GpadlMessages {
    /// The messages for a list. An empty list has none.
    #[must_use]
    pub const fn new(channel_id: ChannelId, gpadl_id: GpadlId, list: GpadlList) -> Self {
        Self {
            channel_id,
            gpadl_id,
            list,
            done: 0,
            messages: 0,
        }
    }

    /// The next message; `None` after the last.
    #[expect(
        clippy::should_implement_trait,
        reason = "the items borrow from the iterator"
    )]
    pub fn next(&mut self) -> Option<GuestMessage<'_>> {
        let rest = self.list.words().get(self.done..)?;
        if rest.is_empty() {
            return None;
        }
        let is_header = self.done == 0;
        let room = if is_header {
            GPADL_HEADER_BYTES / 8
        } else {
            GPADL_BODY_BYTES / 8
        };
        let words = rest.get(..room).unwrap_or(rest);
        self.done = self.done.saturating_add(words.len());
        // VMBus exists only on little-endian processors, so words lie in memory as on the wire.
        let data = words.as_bytes();
        let message = if is_header {
            GpadlHeader {
                channel_id: self.channel_id,
                gpadl_id: self.gpadl_id,
                // A list has at most 8,191 words.
                range_bytes: (self.list.words().len() * 8) as u16,
                range_count: self.list.range_count(),
                data,
            }
            .into()
        } else {
            GpadlBody {
                message_number: self.messages,
                gpadl_id: self.gpadl_id,
                data,
            }
            .into()
        };
        self.messages = self.messages.saturating_add(1);
        Some(message)
    }

    /// Whether [`next`](Self::next) has given the last message.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.done >= self.list.words().len()
    }

    /// Whether [`next`](Self::next) has given no message yet.
    #[must_use]
    pub const fn is_unstarted(&self) -> bool {
        self.done == 0
    }
}
