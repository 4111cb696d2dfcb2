//! When a channel wants to be polled again.

use crate::vmbus::vsp::{ChannelIo, NextPoll};

/// Time until a guest that never says when it makes room is looked at again: 1 ms.
const RETRY_INTERVAL: u64 = 10_000;

/// The earlier of a deadline and, with a guest that never says when it makes room, a retry.
pub(super) fn wait(io: &ChannelIo<'_>, due: Option<u64>, for_room: bool) -> NextPoll {
    let retry = (for_room && !io.incoming.peer_announces_blocked())
        .then(|| io.now.saturating_add(RETRY_INTERVAL));
    earlier(due, retry).map_or(NextPoll::OnSignal, NextPoll::At)
}

/// The earlier of two times.
pub(super) fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}
