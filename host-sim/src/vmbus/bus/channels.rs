//! Channels from their opening to their end.

use super::ports::WorkerEnd;
use super::*;

impl Inner {
    pub(super) fn open(self: &Arc<Self>, state: &mut State, open: &OpenEffect) {
        let opened = self.open_channel(state, open);
        if let Err(reason) = &opened {
            tracing::debug!(channel = open.channel.0, %reason, "open refused");
        }
        state.server.opened(open.channel, opened.is_ok());
    }

    pub(super) fn open_channel(
        self: &Arc<Self>,
        state: &mut State,
        open: &OpenEffect,
    ) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let ring =
            |frames: &[u64]| GuestRing::new(&self.memory, frames).map_err(|error| text(&error));
        let incoming = IncomingRing::attach(ring(&open.incoming)?).map_err(|error| text(&error))?;
        let outgoing = OutgoingRing::attach(ring(&open.outgoing)?).map_err(|error| text(&error))?;
        let doorbell = Arc::new(Doorbell::default());
        let services = ChannelServices {
            waker: {
                let doorbell = Arc::clone(&doorbell);
                PollWaker::new(move || doorbell.ring())
            },
            sub_channels: {
                let (bus, device) = (Arc::downgrade(self), open.device);
                SubChannelRequest::new(move |count| {
                    if let Some(bus) = bus.upgrade() {
                        bus.post(Input::SubChannels { device, count });
                    }
                })
            },
            gpadls: {
                let (bus, channel) = (Arc::downgrade(self), open.channel);
                GpadlLookup::new(move |id| lend(&bus, channel, id))
            },
        };
        // The guest may signal as soon as it has the answer, so the port comes first.
        if let Some(connection) = open.connection_id {
            let port = Arc::new(ChannelPort(Arc::clone(&doorbell)));
            self.hv
                .add_event_port(connection, port)
                .map_err(|error| text(&error))?;
        }
        let request = OpenRequest {
            sub_channel_index: open.sub_channel_index,
            user_data: open.user_data,
            vmbus_version: open.version,
            vp: open.vp.unwrap_or(0),
        };
        let device = state
            .devices
            .get_mut(&open.device)
            .ok_or("the device is gone".to_owned());
        let device =
            device.and_then(|device| device.open(request, services).map_err(|error| text(&error)));
        let device = match device {
            Ok(device) => device,
            Err(reason) => {
                if let Some(connection) = open.connection_id {
                    self.hv.remove_event_port(connection);
                }
                return Err(reason);
            }
        };
        let has_flags = open.version.has_channel_event_flags();
        let page = state.server.interrupt_page().filter(|_| !has_flags);
        let page = page.map(|page| (self.memory.clone(), page));
        let flag = open.event_flag;
        let shared = Arc::new(ChannelShared {
            hv: Arc::clone(&self.hv),
            doorbell,
            interrupt: GuestInterrupt::new(Arc::clone(&self.hv), open.vp, flag, page),
            stop: AtomicBool::new(false),
            polls: AtomicU64::new(0),
        });
        let run = ChannelRun {
            device,
            incoming,
            outgoing,
            memory: self.memory.clone(),
            shared: Arc::clone(&shared),
        };
        let (stepped, worker) = match self.execution {
            Execution::Stepped => {
                shared.doorbell.ring();
                (Some((run, NextPoll::OnSignal)), None)
            }
            Execution::Threaded => match self.spawn(open.channel, run) {
                Ok(worker) => (None, Some(worker)),
                Err(reason) => {
                    if let Some(connection) = open.connection_id {
                        self.hv.remove_event_port(connection);
                    }
                    return Err(reason);
                }
            },
        };
        self.observe(|| BusEvent::Opened {
            channel: open.channel.0,
            vp: open.vp,
        });
        let running = Running {
            shared,
            connection: open.connection_id,
            stepped,
            worker,
        };
        state.running.insert(open.channel, running);
        Ok(())
    }

    pub(super) fn spawn(
        self: &Arc<Self>,
        channel: ChannelId,
        run: ChannelRun,
    ) -> Result<JoinHandle<()>, String> {
        let bus = Arc::downgrade(self);
        std::thread::Builder::new()
            .name(format!("channel-{}", channel.0))
            .spawn(move || {
                // Reports the end also if the device panics, or the channel could never be closed.
                let end = WorkerEnd { bus, channel };
                run.work(|fault| {
                    if let Some(bus) = end.bus.upgrade() {
                        bus.note_fault(&mut bus.state(), channel, fault);
                    }
                });
            })
            .map_err(|error| format!("cannot start a worker: {error}"))
    }

    pub(super) fn note_fault(
        &self,
        state: &mut State,
        channel: ChannelId,
        fault: &dyn std::fmt::Display,
    ) {
        state.faults += 1;
        state.last_fault = Some(format!("channel {}: {fault}", channel.0));
        tracing::warn!(channel = channel.0, %fault, "the guest broke a channel");
        self.observe(|| BusEvent::Fault {
            channel: channel.0,
            fault: fault.to_string(),
        });
    }

    pub(super) fn begin_close(&self, state: &mut State, channel: ChannelId) {
        let Some(running) = state.running.get_mut(&channel) else {
            return state.server.closed(channel);
        };
        running.shared.stop.store(true, Ordering::Release);
        running.shared.doorbell.ring();
        if running.worker.is_none() {
            running.stepped = None;
            self.finish_close(state, channel);
        }
    }

    pub(super) fn finish_close(&self, state: &mut State, channel: ChannelId) {
        if let Some(mut running) = state.running.remove(&channel) {
            if let Some(connection) = running.connection {
                self.hv.remove_event_port(connection);
            }
            if let Some(worker) = running.worker.take()
                && worker.join().is_err()
            {
                tracing::error!(channel = channel.0, "a channel's worker panicked");
            }
            state.closed_interrupts += running.shared.interrupt.raised();
            state.closed_signals += running.shared.doorbell.guest_signals();
            self.observe(|| BusEvent::Closed { channel: channel.0 });
        }
        state.server.closed(channel);
    }
}

/// Takes a GPADL of a channel into use for its device.
fn lend(bus: &Weak<Inner>, channel: ChannelId, id: GpadlId) -> Option<LentMemory> {
    let inner = bus.upgrade()?;
    let gpadl = inner.state().server.lend_gpadl(channel, id)?;
    let bus = Weak::clone(bus);
    Some(LentMemory::new(inner.memory.clone(), gpadl, move || {
        if let Some(bus) = bus.upgrade() {
            bus.post(Input::GpadlReturned(id));
        }
    }))
}
