//! Moving messages and events between the state machine, the hypervisor and those who wait.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use hypercall::Processor;
use hypercall::call::{MessageType, PostMessage};
use hypercall::invoke::{RetryPolicy, post_message};
use hypercall::synic::SintIndex;

use super::reply::{Reply, ReplyKey, Wakeups};
use super::state::{Shared, State};
use super::{BusEvent, Offer};
use crate::channel::ChannelEvent;
use crate::connection::{ChannelKey, ConnectError, Event, Outgoing, RequestError};
use crate::platform::Runtime;
use crate::protocol::{ChannelId, connection_id};

/// Messages that one dispatch takes at most, so that a flooding host does not keep a processor for ever.
const MESSAGES_PER_DISPATCH: usize = 512;

/// A message on its way.
#[derive(Debug)]
pub(super) struct Posting {
    outgoing: Outgoing,
    policy: RetryPolicy,
    /// When the next try is due.
    pub(super) not_before: u64,
}

impl<R: Runtime, C: Processor> Shared<R, C> {
    /// Does something with the state, and everything that follows from it.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State<R>, u64) -> T) -> T {
        let now = self.runtime.now();
        let mut wake = Wakeups::default();
        let result = {
            let mut state = self.state.lock();
            state.expire(now, &mut wake);
            self.pump(&mut state, now, &mut wake);
            let result = work(&mut state, now);
            self.pump(&mut state, now, &mut wake);
            let next_timer = state.next_deadline().unwrap_or(u64::MAX);
            self.next_timer.store(next_timer, Ordering::Relaxed);
            result
        };
        wake.wake();
        result
    }

    /// Serves a virtual processor.
    pub(super) fn dispatch(&self, vp_index: u32) {
        let Some(served) = self.processors.get(vp_index) else {
            return;
        };
        // Most interrupts are for channels.
        let slot = served.synic.message_page().slot(SintIndex::VMBUS);
        let is_due = self.runtime.now() >= self.next_timer.load(Ordering::Relaxed);
        let messages = if slot.message_type.load(Ordering::Relaxed) != 0 || is_due {
            MESSAGES_PER_DISPATCH
        } else {
            0
        };
        for _ in 0..messages {
            // Taken under the state's lock, so that messages are handled in the order of the slot.
            let more = self.with(|state, _| {
                let message = served
                    .synic
                    .read_message(&served.processor, SintIndex::VMBUS);
                match message {
                    Ok(None) => false,
                    Ok(Some(message)) if message.message_type == MessageType::VMBUS => {
                        if let Err(error) = state.connection.handle_message(message.payload()) {
                            log::debug!("VMBus: dropped a message: {error}");
                        }
                        true
                    }
                    Ok(Some(_)) => true,
                    Err(error) => {
                        log::debug!("VMBus: message slot: {error}");
                        true
                    }
                }
            });
            if !more {
                break;
            }
        }
        served
            .synic
            .scan_event_flags(SintIndex::VMBUS, |flag| match flag {
                // Hosts before 2.4 have put the channels into the interrupt page.
                0 => self.pages.scan_interrupt_page(|id| self.interrupt(id)),
                flag => self.interrupt(ChannelId(flag.into())),
            });
    }

    /// A channel is interrupted. Interrupts of channels that nobody has are normal.
    fn interrupt(&self, id: ChannelId) {
        let event = self.interrupts.lock().get(&id).cloned();
        if let Some(event) = event {
            event.signal();
        }
    }

    /// Handles events and posts messages until there are none, or the hypervisor takes none now.
    fn pump(&self, state: &mut State<R>, now: u64, wake: &mut Wakeups) {
        loop {
            while let Some(event) = state.connection.poll_event() {
                self.handle_event(state, event, wake);
            }
            let mut posting = match state.posting.take() {
                Some(posting) => posting,
                None => match state.connection.poll_outgoing() {
                    Some(outgoing) => Posting::new(outgoing, now),
                    None => return,
                },
            };
            if state.connection.is_obsolete(&posting.outgoing) {
                continue;
            }
            if posting.not_before > now {
                state.posting = Some(posting);
                return;
            }
            match self.post(state, &mut posting, now) {
                Post::Done => {}
                Post::Later => {
                    state.posting = Some(posting);
                    return;
                }
                Post::Failed => state.connection.post_failed(&posting.outgoing),
            }
        }
    }

    fn post(&self, state: &mut State<R>, posting: &mut Posting, now: u64) -> Post {
        let outgoing = &posting.outgoing;
        let message = PostMessage::new(
            outgoing.connection_id(),
            MessageType::VMBUS,
            outgoing.bytes(),
        );
        let Ok(message) = message else {
            return Post::Failed;
        };
        let caller = self.processors.caller();
        let Err(status) = post_message(caller, &mut state.parameters, &message) else {
            return Post::Done;
        };
        match posting.policy.delay_after(status) {
            Some(delay) => {
                let delay = u64::try_from(delay.as_nanos().div_ceil(100)).unwrap_or(u64::MAX);
                posting.not_before = now.saturating_add(delay);
                Post::Later
            }
            None => {
                log::debug!("VMBus: a message was not taken: {status}");
                Post::Failed
            }
        }
    }

    fn handle_event(&self, state: &mut State<R>, event: Event, wake: &mut Wakeups) {
        match event {
            Event::Connected(agreement) => {
                state.all_offers_delivered = false;
                let reply = Reply::Connected(Ok(agreement));
                state.replies.deliver(ReplyKey::Connected, reply, wake);
            }
            Event::ConnectFailed(error) => {
                let reply = Reply::Connected(Err(error));
                state.replies.deliver(ReplyKey::Connected, reply, wake);
                wake.wakers.append(&mut state.offer_waiters);
                if let ConnectError::Refused { .. } = error {
                    // No connection, and none of what there may have been before.
                    self.pages.set_host_sees(false);
                }
            }
            Event::Offered(key) => {
                if let Some(description) = state.connection.offer(key).copied() {
                    state.push_event(BusEvent::Offered(Offer { key, description }), wake);
                }
            }
            Event::AllOffersDelivered => {
                state.all_offers_delivered = true;
                state.push_event(BusEvent::AllOffersDelivered, wake);
            }
            Event::Gone { channel, .. } => {
                self.end_interrupts(state, channel, wake);
                state.push_event(BusEvent::Rescinded(channel), wake);
            }
            Event::ClosedWithPrimary(channel) => self.end_interrupts(state, channel, wake),
            Event::Opened { channel, result } => {
                let reply = Reply::Request(result);
                state
                    .replies
                    .deliver(ReplyKey::Opened(channel), reply, wake);
            }
            Event::GpadlCreated { gpadl, result } => {
                let reply = Reply::Request(result);
                state.replies.deliver(ReplyKey::Created(gpadl), reply, wake);
            }
            Event::GpadlReleased(gpadl) => {
                if let Some(memory) = state.memory.remove(&gpadl) {
                    memory.set_host_sees(false);
                }
                let reply = Reply::Request(Ok(()));
                state
                    .replies
                    .deliver(ReplyKey::Released(gpadl), reply, wake);
            }
            // The memory stays in the table, for the case that the host was only late.
            Event::GpadlLeaked { gpadl, reason } => {
                log::warn!("VMBus: the host has not given GPADL {gpadl} back: {reason}");
                let reply = Reply::Request(Err(reason));
                state
                    .replies
                    .deliver(ReplyKey::Released(gpadl), reply, wake);
            }
            Event::Modified { channel, result } => {
                let reply = Reply::Request(result);
                state
                    .replies
                    .deliver(ReplyKey::Modified(channel), reply, wake);
            }
            Event::Unloaded { confirmed } => {
                if confirmed {
                    self.pages.set_host_sees(false);
                }
                let reply = Reply::Unloaded { confirmed };
                state.replies.deliver(ReplyKey::Unloaded, reply, wake);
            }
        }
    }

    /// A channel's interrupts are for nobody any more, and whoever waits for them learns that it is gone.
    fn end_interrupts(&self, state: &mut State<R>, channel: ChannelKey, wake: &mut Wakeups) {
        if let Some(event) = state.channel_events.remove(&channel) {
            self.remove_interrupt(channel.id(), &event);
            event.set_gone();
            wake.channels.push(event);
        }
    }

    /// From now on a channel's interrupts are for `event`.
    pub(crate) fn begin_interrupts(
        &self,
        state: &mut State<R>,
        channel: ChannelKey,
        event: &Arc<ChannelEvent>,
    ) {
        state.channel_events.insert(channel, event.clone());
        self.interrupts.lock().insert(channel.id(), event.clone());
    }

    /// A channel's owner has no more use for its interrupts.
    pub(crate) fn forget_interrupts(&self, state: &mut State<R>, channel: ChannelKey) {
        if let Some(event) = state.channel_events.remove(&channel) {
            self.remove_interrupt(channel.id(), &event);
        }
    }

    fn remove_interrupt(&self, id: ChannelId, event: &Arc<ChannelEvent>) {
        let mut interrupts = self.interrupts.lock();
        // The id may be another channel's by now.
        if interrupts
            .get(&id)
            .is_some_and(|current| Arc::ptr_eq(current, event))
        {
            interrupts.remove(&id);
        }
    }

    /// Signals the host by a connection. A connection that is gone is the channel's end, of which the
    /// owner learns otherwise.
    pub(crate) fn signal_event(&self, connection: u32) -> Result<(), RequestError> {
        hypercall::invoke::signal_event(
            self.processors.caller(),
            connection & connection_id::MASK,
            0,
        )
        .map_err(|status| {
            log::debug!("VMBus: signal to connection {connection:#x}: {status}");
            RequestError::NotPosted
        })
    }

    /// Signals the host by the interrupt page, for channels without a connection of their own.
    pub(crate) fn signal_shared(&self, channel: ChannelId) -> Result<(), RequestError> {
        self.pages.set_send_bit(channel);
        self.signal_event(connection_id::EVENT)
    }

    /// Signals the host by the monitor page.
    pub(crate) fn signal_monitor(&self, channel: ChannelId, monitor_id: u8) {
        self.pages.set_send_bit(channel);
        self.pages.trigger_monitor(monitor_id);
    }
}

/// What came of a post.
enum Post {
    Done,
    Later,
    Failed,
}

impl Posting {
    fn new(outgoing: Outgoing, now: u64) -> Self {
        let policy = if outgoing.is_initiate_contact() {
            RetryPolicy::initiate_contact()
        } else {
            RetryPolicy::new()
        };
        Self {
            outgoing,
            policy,
            not_before: now,
        }
    }
}
