//! Where futures find what they wait for.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use crate::channel::ChannelEvent;
use crate::connection::{Agreement, ChannelKey, ConnectError, RequestError};
use crate::protocol::GpadlId;

/// What can be waited for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum ReplyKey {
    Connected,
    Unloaded,
    Opened(ChannelKey),
    Created(GpadlId),
    Released(GpadlId),
    Modified(ChannelKey),
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Connected(Result<Agreement, ConnectError>),
    Unloaded { confirmed: bool },
    Request(Result<(), RequestError>),
}

/// Who is to be woken once no lock is held: a waker may do anything.
#[derive(Debug, Default)]
pub(crate) struct Wakeups {
    pub(super) wakers: Vec<Waker>,
    pub(super) channels: Vec<Arc<ChannelEvent>>,
}

impl Wakeups {
    pub(super) fn wake(self) {
        for waker in self.wakers {
            waker.wake();
        }
        for channel in self.channels {
            channel.wake();
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    reply: Option<Reply>,
    waker: Option<Waker>,
}

/// The replies that somebody waits for, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    slots: BTreeMap<ReplyKey, Slot>,
}

impl Replies {
    /// From now on somebody waits for the reply.
    pub(crate) fn expect(&mut self, key: ReplyKey) {
        self.slots.insert(key, Slot::default());
    }

    /// Whether somebody waits for the reply.
    pub(crate) fn is_expected(&self, key: ReplyKey) -> bool {
        self.slots.contains_key(&key)
    }

    /// Nobody waits any more.
    pub(crate) fn forget(&mut self, key: ReplyKey) {
        self.slots.remove(&key);
    }

    /// A reply has come. Whoever waits is put on the list of those to be woken.
    pub(crate) fn deliver(&mut self, key: ReplyKey, reply: Reply, wake: &mut Wakeups) {
        if let Some(slot) = self.slots.get_mut(&key)
            && slot.reply.is_none()
        {
            slot.reply = Some(reply);
            wake.wakers.extend(slot.waker.take());
        }
    }

    /// The reply, or else the waker is kept.
    pub(crate) fn poll(&mut self, key: ReplyKey, context: &Context<'_>) -> Poll<Reply> {
        let slot = self.slots.entry(key).or_default();
        match slot.reply {
            Some(reply) => Poll::Ready(reply),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
