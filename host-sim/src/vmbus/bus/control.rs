//! The control plane's queue and its thread.

use super::*;

impl Inner {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn inbox(&self) -> MutexGuard<'_, VecDeque<Input>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn observe(&self, event: impl FnOnce() -> BusEvent) {
        if let Some(observer) = &self.observer {
            observer.observe(self.hv.reference_time(), &event());
        }
    }

    pub(super) fn post(&self, input: Input) -> Status {
        let mut inbox = self.inbox();
        match input {
            Input::Message { .. } => {
                if self.messages.load(Ordering::Relaxed) >= INBOX_LIMIT as u64 {
                    return Status::INSUFFICIENT_BUFFERS;
                }
                self.messages.fetch_add(1, Ordering::Relaxed);
            }
            // A device may be made to ask by its guest, and as often as the guest likes.
            Input::SubChannels { device, count } => {
                let waiting = inbox.iter_mut().find_map(|input| match input {
                    Input::SubChannels {
                        device: other,
                        count,
                    } if *other == device => Some(count),
                    _ => None,
                });
                if let Some(waiting) = waiting {
                    *waiting = count.max(*waiting);
                    return Status::SUCCESS;
                }
            }
            // Whether others use it, is looked at when this is taken: once is enough.
            Input::GpadlReturned(id) => {
                let waits =
                    |input: &Input| matches!(input, Input::GpadlReturned(other) if *other == id);
                if inbox.iter().any(waits) {
                    return Status::SUCCESS;
                }
            }
            Input::Closed(_) => {}
        }
        inbox.push_back(input);
        drop(inbox);
        self.wake.notify_one();
        Status::SUCCESS
    }

    /// The oldest input; from a guest that reads no messages (`blocked`), only the ends of channels.
    pub(super) fn take_input(&self, blocked: bool) -> Option<Input> {
        let mut inbox = self.inbox();
        if blocked {
            let closed = |input: &Input| matches!(input, Input::Closed(_));
            let first = inbox.iter().position(closed)?;
            return inbox.remove(first);
        }
        let input = inbox.pop_front();
        if matches!(input, Some(Input::Message { .. })) {
            self.messages.fetch_sub(1, Ordering::Relaxed);
        }
        input
    }

    /// Forgets the guest's messages that wait.
    pub(super) fn drop_messages(&self) {
        let mut inbox = self.inbox();
        inbox.retain(|input| !matches!(input, Input::Message { .. }));
        self.messages.store(0, Ordering::Relaxed);
    }

    /// Rings the doorbells that the guest has marked in its half of the interrupt page.
    pub(super) fn scan_interrupt_page(&self) {
        let state = self.state();
        let Some(page) = state.server.interrupt_page() else {
            return;
        };
        for word in 0..SEND_WORDS {
            let address = page
                .saturating_add(SEND_HALF)
                .saturating_add(u64::from(word) * 4);
            let Ok(bits) = self.memory.atomic_u32(address) else {
                return;
            };
            let mut bits = bits.swap(0, Ordering::SeqCst);
            while bits != 0 {
                let channel = ChannelId(word * 32 + bits.trailing_zeros());
                bits &= bits - 1;
                if let Some(running) = state.running.get(&channel) {
                    running.shared.doorbell.ring_by_guest();
                }
            }
        }
    }

    /// Takes one input; `false` if there was none, or none that can be taken while the guest reads no messages.
    pub(super) fn handle_input(self: &Arc<Self>, state: &mut State) -> bool {
        match self.take_input(state.unsent.is_some()) {
            None => return false,
            Some(Input::Message {
                connection,
                payload,
            }) => {
                self.observe(|| BusEvent::from_guest(connection, &payload));
                state.server.handle_message(connection, &payload);
            }
            Some(Input::SubChannels { device, count }) => {
                state.server.request_sub_channels(device, count)
            }
            Some(Input::Closed(channel)) => self.finish_close(state, channel),
            Some(Input::GpadlReturned(id)) => state.server.gpadl_returned(id),
        }
        true
    }

    /// Carries out one effect; `false` if there is none or it has to wait for the guest.
    pub(super) fn handle_effect(self: &Arc<Self>, state: &mut State) -> bool {
        if let Some((vp, sint, message)) = state.unsent.take() {
            if self.send(state, vp, sint, message) {
                return true;
            }
            // A guest that reads no messages does not keep its channels from being closed.
            let close = state.server.poll_close();
            if let Some(channel) = close {
                self.begin_close(state, channel);
            }
            return close.is_some();
        }
        match state.server.poll_effect() {
            None => return false,
            Some(Effect::Message { vp, sint, message }) => {
                return self.send(state, vp, sint, message);
            }
            Some(Effect::Open(open)) => self.open(state, &open),
            Some(Effect::Close(channel)) => self.begin_close(state, channel),
            Some(Effect::Retarget { channel, vp }) => {
                if let Some(running) = state.running.get(&channel) {
                    running.shared.interrupt.retarget(vp);
                }
            }
        }
        true
    }

    pub(super) fn send(&self, state: &mut State, vp: u32, sint: u8, message: HostMessage) -> bool {
        let mut buffer = MessageBuffer::new();
        message.emit(&mut buffer);
        match self
            .hv
            .post_message(vp, sint, VMBUS_MESSAGE, buffer.as_bytes())
        {
            Ok(()) => {
                self.observe(|| BusEvent::to_guest(vp, buffer.as_bytes()));
                true
            }
            Err(PostError::QueueFull) => {
                state.unsent = Some((vp, sint, message));
                false
            }
            Err(error) => {
                tracing::warn!(%error, "message for the guest lost");
                true
            }
        }
    }

    /// The control plane's thread.
    pub(super) fn serve(self: &Arc<Self>) {
        while !self.stop.load(Ordering::Acquire) {
            let mut state = self.state();
            while self.handle_effect(&mut state) {}
            let blocked = state.unsent.is_some();
            // A guest that doesn't read its messages gets no further ones handled.
            let worked = self.handle_input(&mut state);
            drop(state);
            if worked {
                continue;
            }
            self.rest(blocked);
        }
    }

    /// Sleeps until there is something to do or, if the guest has no room for a message, for a moment.
    pub(super) fn rest(&self, blocked: bool) {
        let inbox = self.inbox();
        if self.stop.load(Ordering::Acquire) {
            return;
        }
        if blocked {
            drop(self.wake.wait_timeout(inbox, RETRY_INTERVAL));
        } else if inbox.is_empty() && !self.poked.swap(false, Ordering::Relaxed) {
            drop(self.wake.wait(inbox));
        }
    }

    /// Whether no device touches the guest's memory, or will without a further message of the guest.
    pub(super) fn is_quiet(state: &State) -> bool {
        state.running.is_empty() && !state.server.has_busy_channels()
    }
}
