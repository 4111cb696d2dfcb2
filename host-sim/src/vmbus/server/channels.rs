//! Channels, from their offer to their end.

use vmbus_core::guid::Guid;
use vmbus_core::protocol::{
    ChannelId, GpadlId, ModifyChannel, ModifyChannelResponse, OfferChannel, OfferFlags,
    OpenChannel, OpenChannelResult, ReplyStatus, RescindChannelOffer, VP_NONE, connection_id,
};
use vmbus_core::version::ProtocolVersion;

use super::connection::Connection;
use super::effect::{Effect, OpenEffect};
use super::{DeviceId, MAX_CHANNELS, Server, VMBUS_SINT};
use crate::memory::PAGE_SIZE;

/// State of a channel that the guest knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelPhase {
    /// Offered.
    Closed,
    /// Its device is opening it.
    Opening,
    /// Open.
    Open,
    /// Its device is closing it.
    Closing,
    /// Rescinded; the guest has not released its id yet.
    Rescinded,
}

impl ChannelPhase {
    /// In one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Rescinded => "rescinded",
        }
    }
}

#[derive(Debug)]
pub(super) struct Channel {
    device: DeviceId,
    interface: Guid,
    instance: Guid,
    sub_channel_index: u16,
    pub(super) phase: ChannelPhase,
    open_id: u32,
    pub(super) ring: Option<GpadlId>,
    /// The guest gets interrupts.
    interrupts: bool,
    /// An OPEN that came while the channel was closing.
    reopen: Option<OpenChannel>,
    /// To be closed as soon as it is open: its guest or device went away meanwhile.
    close_when_open: bool,
    /// To be rescinded when closed.
    rescind_when_closed: bool,
    /// To be forgotten when closed: the guest released its id or is gone.
    forget_when_closed: bool,
    /// GPADLs whose teardown waits: the ring's for the close, others until their device has returned them.
    pub(super) torndown_later: Vec<GpadlId>,
}

impl Channel {
    pub(super) fn interface(&self) -> Guid {
        self.interface
    }

    pub(super) fn instance(&self) -> Guid {
        self.instance
    }

    pub(super) fn sub_channel_index(&self) -> u16 {
        self.sub_channel_index
    }

    pub(super) fn phase(&self) -> ChannelPhase {
        self.phase
    }

    /// Whether this is the primary channel of a device of this class and instance.
    fn is_primary_of(&self, interface: Guid, instance: Guid) -> bool {
        self.sub_channel_index == 0 && self.interface == interface && self.instance == instance
    }
}

impl Server {
    /// Channels of a device, the primary first.
    pub(super) fn channels_of(&self, device: DeviceId) -> impl Iterator<Item = ChannelId> {
        let mut ids: Vec<_> = self
            .channels
            .iter()
            .filter(|(_, channel)| channel.device == device)
            .map(|(id, channel)| (channel.sub_channel_index, *id))
            .collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id)
    }

    /// The state of a channel; `None` if the guest knows of no such one.
    #[must_use]
    pub fn channel_phase(&self, id: ChannelId) -> Option<ChannelPhase> {
        self.channels.get(&id).map(|channel| channel.phase)
    }

    /// Offers a device's channel under the lowest free id. Without a free id the device stays hidden, and so it does
    /// from a guest that is leaving: its end would wait for the new channel for ever. While the guest has a channel of
    /// the same instance, which one device leaves to another, the offer waits.
    pub(super) fn offer(&mut self, device: DeviceId, sub_channel_index: u16) {
        let (Some(entry), Connection::Connected(session)) =
            (self.devices.get_mut(&device), &self.connection)
        else {
            return;
        };
        if sub_channel_index == 0 {
            let (interface, instance) = (entry.description.interface, entry.description.instance);
            entry.awaits_release = self
                .channels
                .values()
                .any(|channel| channel.is_primary_of(interface, instance));
            if entry.awaits_release {
                return;
            }
        }
        let version = session.version;
        let free = (1..=MAX_CHANNELS)
            .map(ChannelId)
            .find(|id| !self.channels.contains_key(id));
        let Some(id) = free else {
            tracing::warn!("no channel id is free: a device is not offered");
            return;
        };
        let description = &entry.description;
        // These bits mean features of 6.0 that this server never grants.
        let flags = OfferFlags::from_bits_retain(description.flags & !0xE);
        let dedicated = version.has_dedicated_signals();
        let message = OfferChannel {
            interface: description.interface,
            instance: description.instance,
            flags,
            mmio_megabytes: description.mmio_megabytes,
            user_data: description.user_data,
            sub_channel_index,
            optional_mmio_megabytes: 0,
            channel_id: id,
            monitor_id: None,
            dedicated_interrupt: dedicated,
            connection_id: if dedicated {
                dedicated_connection(id)
            } else {
                connection_id::EVENT
            },
        };
        let channel = Channel {
            device,
            interface: description.interface,
            instance: description.instance,
            sub_channel_index,
            phase: ChannelPhase::Closed,
            open_id: 0,
            ring: None,
            interrupts: false,
            reopen: None,
            close_when_open: false,
            rescind_when_closed: false,
            forget_when_closed: false,
            torndown_later: Vec::new(),
        };
        self.channels.insert(id, channel);
        self.send(message);
    }

    /// A device asks that its sub-channels 1 to `count` be offered.
    pub fn request_sub_channels(&mut self, device: DeviceId, count: u16) {
        let Some(entry) = self.devices.get(&device) else {
            return;
        };
        let count = count.min(entry.description.max_sub_channels);
        let primary_open = self.channels.values().any(|channel| {
            channel.device == device
                && channel.sub_channel_index == 0
                && channel.phase == ChannelPhase::Open
        });
        if !matches!(self.connection, Connection::Connected(_)) || !primary_open {
            return;
        }
        if self.version() < Some(ProtocolVersion::V2_4) {
            return self.unexpected("sub-channels exist from version 2.4 on");
        }
        for index in 1..=count {
            let exists = self.channels.values().any(|channel| {
                channel.device == device
                    && channel.sub_channel_index == index
                    && channel.phase != ChannelPhase::Rescinded
                    && !channel.rescind_when_closed
            });
            if !exists {
                self.offer(device, index);
            }
        }
    }

    pub(super) fn open(&mut self, open: &OpenChannel) {
        let Some(channel) = self.channels.get_mut(&open.channel_id) else {
            return self.unexpected("open of an unknown channel");
        };
        match channel.phase {
            ChannelPhase::Closed => {}
            ChannelPhase::Closing if channel.reopen.is_none() => {
                channel.reopen = Some(*open);
                return;
            }
            ChannelPhase::Rescinded => return,
            _ => return self.unexpected("open of a channel that is not closed"),
        }
        match self.check_open(open) {
            Ok(effect) => {
                if let Some(channel) = self.channels.get_mut(&open.channel_id) {
                    channel.phase = ChannelPhase::Opening;
                    channel.open_id = open.open_id;
                    channel.ring = Some(open.ring_gpadl_id);
                    channel.interrupts = effect.vp.is_some();
                }
                self.effects.push_back(Effect::Open(Box::new(effect)));
            }
            Err(why) => {
                tracing::debug!(channel = open.channel_id.0, why, "open refused");
                self.refuse_open(open.channel_id, open.open_id);
            }
        }
    }

    fn refuse_open(&mut self, channel_id: ChannelId, open_id: u32) {
        self.counters.opens_refused += 1;
        self.send(OpenChannelResult {
            channel_id,
            open_id,
            status: ReplyStatus::FAILED,
        });
    }

    fn check_open(&self, open: &OpenChannel) -> Result<OpenEffect, &'static str> {
        let channel = self
            .channels
            .get(&open.channel_id)
            .ok_or("unknown channel")?;
        let version = self.version().ok_or("not connected")?;
        let gpadl = self.gpadls.get(open.ring_gpadl_id).ok_or("no such GPADL")?;
        if gpadl.channel_id != open.channel_id {
            return Err("the GPADL belongs to another channel");
        }
        let [range] = gpadl.ranges.as_slice() else {
            return Err("a ring's GPADL has one range");
        };
        if range.byte_offset != 0 || !u64::from(range.byte_count).is_multiple_of(PAGE_SIZE) {
            return Err("a ring's GPADL has whole pages");
        }
        let split = usize::try_from(open.downstream_page_offset).map_err(|_| "bad ring offset")?;
        // Either ring has its control page and at least one page of data.
        if split < 2
            || split
                .checked_add(2)
                .is_none_or(|least| least > range.page_frames.len())
        {
            return Err("bad ring offset");
        }
        let (incoming, outgoing) = range.page_frames.split_at(split);
        let vp = match open.target_vp {
            VP_NONE => None,
            // Before that, all interrupts go to the first processor.
            _ if !version.has_channel_event_flags() => Some(0),
            vp if vp < self.config.vp_count => Some(vp),
            _ => return Err("no such virtual processor"),
        };
        let (mut event_flag, mut connection) = (
            open.channel_id.0 as u16,
            dedicated_connection(open.channel_id),
        );
        if let Some(signal) = open.signal {
            if u32::from(signal.event_flag) > MAX_CHANNELS {
                return Err("event flag out of range");
            }
            if signal.connection_id == 0 || signal.connection_id & !connection_id::MASK != 0 {
                return Err("connection id out of range");
            }
            (event_flag, connection) = (signal.event_flag, signal.connection_id);
        }
        Ok(OpenEffect {
            channel: open.channel_id,
            device: channel.device,
            sub_channel_index: channel.sub_channel_index,
            user_data: open.user_data,
            version,
            incoming: incoming.to_vec(),
            outgoing: outgoing.to_vec(),
            vp,
            event_flag,
            connection_id: version.has_dedicated_signals().then_some(connection),
        })
    }

    /// The end of [`Effect::Open`]: whether the device has opened the channel.
    pub fn opened(&mut self, id: ChannelId, is_open: bool) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if channel.phase != ChannelPhase::Opening {
            return;
        }
        let open_id = channel.open_id;
        if !is_open {
            channel.phase = ChannelPhase::Closing;
            let silent = channel.close_when_open;
            if !silent {
                self.refuse_open(id, open_id);
            }
            return self.closed(id);
        }
        if channel.close_when_open {
            channel.phase = ChannelPhase::Closing;
            return self.effects.push_back(Effect::Close(id));
        }
        channel.phase = ChannelPhase::Open;
        self.send(OpenChannelResult {
            channel_id: id,
            open_id,
            status: ReplyStatus::SUCCESS,
        });
    }

    pub(super) fn close(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return self.unexpected("close of an unknown channel");
        };
        match channel.phase {
            ChannelPhase::Open => {}
            ChannelPhase::Rescinded => return,
            // The guest's close and the host's rescind have crossed.
            ChannelPhase::Closing if channel.rescind_when_closed => return,
            _ => return self.unexpected("close of a channel that is not open"),
        }
        if channel.sub_channel_index == 0 {
            // Sub-channels don't outlive the primary.
            let subs: Vec<_> = self
                .channels_of(channel.device)
                .filter(|sub| *sub != id)
                .collect();
            for sub in subs {
                self.revoke(sub);
            }
        }
        self.begin_close(id);
    }

    /// Starts closing an open channel.
    fn begin_close(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.phase = ChannelPhase::Closing;
            self.effects.push_back(Effect::Close(id));
        }
    }

    /// The end of [`Effect::Close`]: nothing touches the channel's memory any more.
    pub fn closed(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if channel.phase != ChannelPhase::Closing {
            return;
        }
        channel.phase = ChannelPhase::Closed;
        channel.ring = None;
        channel.close_when_open = false;
        let reopen = channel.reopen.take();
        let torndown = std::mem::take(&mut channel.torndown_later);
        let (forget, rescind) = (channel.forget_when_closed, channel.rescind_when_closed);
        if forget {
            if matches!(self.connection, Connection::Connected(_)) {
                // The guest gave the id back before it had its memory: it still waits for that.
                for gpadl in torndown {
                    self.tear_down(gpadl);
                }
            }
            self.forget(id);
            return self.finish_disconnect();
        }
        for gpadl in torndown {
            self.tear_down_unless_lent(id, gpadl);
        }
        if rescind {
            self.rescind(id);
        } else if let Some(open) = reopen {
            self.open(&open);
        }
    }

    /// Closes a channel for good and rescinds it.
    pub(super) fn revoke(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        match channel.phase {
            ChannelPhase::Rescinded => return,
            ChannelPhase::Closed => return self.rescind(id),
            _ => {}
        }
        channel.rescind_when_closed = true;
        channel.reopen = None;
        match channel.phase {
            ChannelPhase::Opening => channel.close_when_open = true,
            ChannelPhase::Open => self.begin_close(id),
            _ => {}
        }
    }

    fn rescind(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.phase = ChannelPhase::Rescinded;
            channel.rescind_when_closed = false;
            self.send(RescindChannelOffer { channel_id: id });
        }
    }

    /// The guest gives a channel's id back.
    pub(super) fn release(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return self.unexpected("release of an unknown channel");
        };
        match channel.phase {
            ChannelPhase::Closed | ChannelPhase::Rescinded => self.forget(id),
            ChannelPhase::Closing => channel.forget_when_closed = true,
            ChannelPhase::Opening | ChannelPhase::Open => {
                self.unexpected("release of an open channel")
            }
        }
    }

    fn forget(&mut self, id: ChannelId) {
        let channel = self.channels.remove(&id);
        self.gpadls.remove_channel(id);
        if let Some(channel) = channel {
            self.offer_successor(&channel);
        }
    }

    /// Offers the device that waited for the end of this channel.
    fn offer_successor(&mut self, channel: &Channel) {
        let mut devices = self.devices.iter();
        let successor = devices.find_map(|(id, device)| {
            let description = &device.description;
            let is_successor = device.awaits_release
                && channel.is_primary_of(description.interface, description.instance);
            is_successor.then_some(*id)
        });
        if let Some(device) = successor {
            self.offer(device, 0);
        }
    }

    /// Closes and forgets every channel, for the end of the connection.
    pub(super) fn close_all(&mut self) {
        // The next connection asks for all offers.
        for device in self.devices.values_mut() {
            device.awaits_release = false;
        }
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for id in ids {
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            channel.forget_when_closed = true;
            channel.reopen = None;
            match channel.phase {
                ChannelPhase::Closed | ChannelPhase::Rescinded => self.forget(id),
                ChannelPhase::Opening => channel.close_when_open = true,
                ChannelPhase::Open => self.begin_close(id),
                ChannelPhase::Closing => {}
            }
        }
    }

    pub(super) fn modify(&mut self, modify: &ModifyChannel) {
        let ModifyChannel {
            channel_id,
            target_vp,
        } = *modify;
        let movable = self
            .channels
            .get(&channel_id)
            .is_some_and(|channel| channel.phase == ChannelPhase::Open && channel.interrupts);
        let accepted = movable && target_vp < self.config.vp_count;
        if accepted {
            self.effects.push_back(Effect::Retarget {
                channel: channel_id,
                vp: target_vp,
            });
        } else {
            self.unexpected("a channel's interrupts cannot be moved so");
        }
        if self.version() >= Some(ProtocolVersion::V5_3) {
            let status = if accepted {
                ReplyStatus::SUCCESS
            } else {
                ReplyStatus::FAILED
            };
            self.send(ModifyChannelResponse { channel_id, status });
        }
    }
}

/// The connection that a channel's guest signals: the id as real hosts form it, opaque to guests.
fn dedicated_connection(id: ChannelId) -> u32 {
    id.0 | u32::from(VMBUS_SINT) << 12
}
