//! Frames from the network to the channels' queues.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use vsc_net::wire::ndis::hash_bits;
use vsc_net::wire::nvsp::Capabilities;
use vsc_net::wire::rndis::{HashInfo, PacketInfo, ReceiveChecksum, VlanTag};

use super::counters::ChannelCounters;
use super::scaling::Target;
use super::settings::Settings;
use super::shared::{Received, Shared};
use crate::net::checksum::{complete, is_ipv4_header_good, is_transport_good};
use crate::net::headers::{
    ETHERNET_HEADER, Headers, IpVersion, PROTOCOL_TCP, PROTOCOL_UDP, insert_vlan_tag,
    remove_vlan_tag,
};
use crate::net::segment::segment;
use crate::net::{Frame, MacAddress};

/// Frames taken from the back end in one turn.
const BATCH: usize = 128;

/// Why taking frames stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// There are no more.
    Drained,
    /// A batch is full.
    Batch,
    /// A channel's queue is full.
    QueueFull,
}

/// Takes frames from the back end; belongs to the primary channel.
#[derive(Debug, Default)]
pub(super) struct Distributor {
    frame: Frame,
    segment: Frame,
    /// Frames that found no room, with their queues.
    pending: VecDeque<(u16, Received)>,
}

impl Distributor {
    /// Forgets what found no room.
    pub(super) fn forget(&mut self, counters: &ChannelCounters) {
        counters.receive_discards.add(self.pending.len() as u64);
        self.pending.clear();
    }

    /// Whether the next frame waits for room in the queue of an open sub-channel.
    pub(super) fn waits_for_other(&self, shared: &Shared) -> bool {
        self.pending
            .front()
            .is_some_and(|(queue, _)| *queue != 0 && shared.queue(*queue).is_some())
    }

    /// Gives each channel its frames.
    pub(super) fn run(
        &mut self,
        settings: &Settings,
        shared: &Shared,
        counters: &ChannelCounters,
    ) -> Stop {
        for _ in 0..BATCH {
            if !self.flush(shared, counters) {
                return Stop::QueueFull;
            }
            if !shared.backend.receive(&mut self.frame) {
                return Stop::Drained;
            }
            if !shared.is_cable_in() {
                counters.receive_discards.increment();
                continue;
            }
            self.take(settings, shared, counters);
        }
        if self.flush(shared, counters) {
            Stop::Batch
        } else {
            Stop::QueueFull
        }
    }

    /// Puts what has been taken into the queues; `false` if one of them has no room.
    fn flush(&mut self, shared: &Shared, counters: &ChannelCounters) -> bool {
        while let Some((queue, received)) = self.pending.pop_front() {
            let Some((target, waker)) = shared.queue(queue).or_else(|| shared.queue(0)) else {
                counters.receive_discards.increment();
                continue;
            };
            let pushed = target.push(received).or_else(|received| {
                shared.set_primary_waits();
                // It may have been emptied before the note was seen.
                target.push(received)
            });
            match pushed {
                // The primary channel looks into its own queue by itself.
                Ok(true) if queue != 0 => waker.wake(),
                Ok(_) => {}
                Err(received) => {
                    self.pending.push_front((queue, received));
                    return false;
                }
            }
        }
        true
    }

    /// Takes the frame that has been received, as one or, if it is still to be cut, as several.
    fn take(&mut self, settings: &Settings, shared: &Shared, counters: &ChannelCounters) {
        let mut frame = std::mem::take(&mut self.frame);
        if frame.offload.segmentation.is_none() {
            complete_and(&mut frame);
            self.admit(&mut frame, settings, shared, counters);
            self.frame = frame;
            return;
        }
        let mut scratch = std::mem::take(&mut self.segment);
        let mut segments = Vec::new();
        let cut = segment(&frame, &mut scratch, |segment| {
            let mut segment = segment.clone();
            segment.offload.is_verified = true;
            segments.push(segment);
            ControlFlow::Continue(())
        });
        if cut.is_none() {
            counters.receive_errors.increment();
        }
        for mut segment in segments {
            self.admit(&mut segment, settings, shared, counters);
        }
        self.segment = scratch;
        self.frame = frame;
    }

    /// Decides whether a frame is the guest's, and which queue it goes to.
    fn admit(
        &mut self,
        frame: &mut Frame,
        settings: &Settings,
        shared: &Shared,
        counters: &ChannelCounters,
    ) {
        let destination = MacAddress::destination(&frame.bytes);
        let (Some(destination), true) = (destination, frame.bytes.len() >= ETHERNET_HEADER) else {
            return counters.receive_errors.increment();
        };
        if !settings.is_operational || !settings.wants(destination) {
            return counters.filtered.increment();
        }
        let tag = remove_vlan_tag(frame);
        if frame.bytes.len() < ETHERNET_HEADER {
            // Nothing was behind the tag.
            return counters.receive_errors.increment();
        }
        let Ok(tag) = shared.policy.vlan.incoming(tag) else {
            return counters.receive_discards.increment();
        };
        if frame.bytes.len() > settings.mtu as usize {
            return counters.receive_errors.increment();
        }
        let mut info = PacketInfo {
            checksum: verified(frame, settings),
            ..PacketInfo::default()
        };
        if info.checksum.is_some() {
            counters.checksums_verified.increment();
        }
        let target = match &settings.scaling {
            Some(scaling) => scaling.target(&frame.bytes),
            None => Target::default(),
        };
        if let Some((hash, kind)) = target.hash {
            info.hash_value = Some(hash);
            info.hash_info = Some(HashInfo(kind | hash_bits::TOEPLITZ));
        }
        match tag {
            Some(tci) if settings.capabilities.contains(Capabilities::VLAN) => {
                info.vlan = Some(VlanTag::from_tci(tci));
                counters.vlan_received.increment();
            }
            Some(tci) => insert_vlan_tag(frame, tci),
            None => {}
        }
        let received = Received {
            bytes: std::mem::take(&mut frame.bytes),
            info,
        };
        self.pending.push_back((target.queue, received));
    }
}

/// Makes the checksum that another guest has left to be made. What never was on a wire is right by that.
fn complete_and(frame: &mut Frame) {
    if frame.offload.checksum.is_some() {
        complete(frame);
        frame.offload.is_verified = true;
    }
}

/// What can be said of a frame's checksums, if the guest wants to know and it is good.
fn verified(frame: &Frame, settings: &Settings) -> Option<u32> {
    let headers = Headers::parse(&frame.bytes)?;
    let offloads = &settings.offloads;
    let is_v4 = headers.version == IpVersion::V4;
    let (is_wanted, transport) = match headers.protocol {
        PROTOCOL_TCP if is_v4 => (offloads.receive_tcp_ipv4, ReceiveChecksum::TCP_SUCCEEDED),
        PROTOCOL_TCP => (offloads.receive_tcp_ipv6, ReceiveChecksum::TCP_SUCCEEDED),
        PROTOCOL_UDP if is_v4 => (offloads.receive_udp_ipv4, ReceiveChecksum::UDP_SUCCEEDED),
        PROTOCOL_UDP => (offloads.receive_udp_ipv6, ReceiveChecksum::UDP_SUCCEEDED),
        _ => (false, 0),
    };
    let mut bits = 0;
    if is_v4 && offloads.receive_ipv4 && is_ipv4_header_good(&frame.bytes, &headers) {
        bits |= ReceiveChecksum::IP_HEADER_SUCCEEDED;
    }
    // A wrong one is the guest's to find: it counts it.
    if is_wanted
        && !headers.is_fragment
        && (frame.offload.is_verified || is_transport_good(&frame.bytes, &headers) == Some(true))
    {
        bits |= transport;
    }
    (bits != 0).then_some(bits)
}
