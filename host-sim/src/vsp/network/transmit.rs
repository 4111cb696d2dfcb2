//! Frames from the guest to its network.

use std::ops::ControlFlow;

use vsc_net::wire::nvsp::Status;
use vsc_net::wire::rndis::{
    LargeSend, MessageType, PACKET_HEADER_SIZE, PacketHeader, PacketInfo, PacketLayout,
    TransmitChecksum,
};
use zerocopy::FromBytes;

use super::control::MAX_PACKETS;
use super::counters::ChannelCounters;
use super::settings::Settings;
use super::shared::Shared;
use super::stream::Stream;
use crate::memory::GuestMemory;
use crate::net::checksum::{complete, fill_ipv4_header, seed_transport};
use crate::net::headers::{
    ETHERNET_HEADER, Headers, IpVersion, PROTOCOL_TCP, PROTOCOL_UDP, VLAN_TAG, insert_vlan_tag,
    remove_vlan_tag,
};
use crate::net::segment::segment;
use crate::net::{
    Capabilities, Frame, MAX_FRAME, MacAddress, PartialChecksum, Segmentation, SendError,
};

/// Bytes of the longest per-packet information that is read.
const MAX_INFO: u32 = 1024;
/// Segments made in one turn of a channel, beyond which it reads no other message: guests choose how many a message is
/// cut into, up to one for each of its bytes, and the thread serves other channels too.
const SEGMENTS_PER_TURN: usize = 4096;

/// A packet breaks the rules of RNDIS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// A frame is not sent, and its guest not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsent {
    /// Something is wrong with it.
    Error,
    /// It is not to pass, or cannot.
    Discard,
}

/// Sends frames; keeps memory for them.
#[derive(Debug, Default)]
pub(super) struct Transmitter {
    bytes: Vec<u8>,
    frame: Frame,
    segment: Frame,
    /// Segments made in this turn.
    segments_made: usize,
}

/// What a message of RNDIS begins with; `None` if it is shorter than a header.
pub(super) fn message_type(stream: &Stream, memory: &GuestMemory) -> Option<MessageType> {
    let mut bytes = Vec::with_capacity(4);
    stream
        .read(memory, 0, 4, &mut bytes)
        .then(|| bytes.first_chunk().copied())
        .flatten()
        .map(|word| MessageType(u32::from_le_bytes(word)))
}

impl Transmitter {
    /// A turn of the channel begins.
    pub(super) fn begin_turn(&mut self) {
        self.segments_made = 0;
    }

    /// Whether this turn has cut as much as others can wait for.
    pub(super) fn is_turn_over(&self) -> bool {
        self.segments_made >= SEGMENTS_PER_TURN
    }

    /// Sends the packets of one message. Those before a malformed one have been sent.
    pub(super) fn send_all(
        &mut self,
        stream: &Stream,
        memory: &GuestMemory,
        settings: &Settings,
        shared: &Shared,
        counters: &ChannelCounters,
    ) -> Status {
        let mut position = 0;
        let mut packets = 0;
        // Less than a header's beginning is padding.
        while stream.length() - position >= 8 {
            if packets == MAX_PACKETS {
                counters.malformed.increment();
                return Status::FAIL;
            }
            match self.packet(stream, position, memory, settings, shared, counters) {
                Ok(length) => position += length,
                Err(Malformed) => {
                    counters.malformed.increment();
                    return Status::FAIL;
                }
            }
            packets += 1;
        }
        if packets > 1 {
            counters.aggregated.increment();
        }
        if packets == 0 {
            counters.malformed.increment();
            return Status::FAIL;
        }
        Status::SUCCESS
    }

    /// Sends the packet at a position; returns the message's bytes.
    fn packet(
        &mut self,
        stream: &Stream,
        position: u32,
        memory: &GuestMemory,
        settings: &Settings,
        shared: &Shared,
        counters: &ChannelCounters,
    ) -> Result<u32, Malformed> {
        let available = stream.length() - position;
        let read = |at: u32, length: u32, into: &mut Vec<u8>| {
            into.clear();
            if stream.read(memory, position + at, length, into) {
                Ok(())
            } else {
                Err(Malformed)
            }
        };
        read(0, PACKET_HEADER_SIZE, &mut self.bytes)?;
        let header = PacketHeader::read_from_bytes(&self.bytes).map_err(|_| Malformed)?;
        let layout = PacketLayout::parse(&header, available).map_err(|_| Malformed)?;
        let length = layout.data_length;
        if layout.ppi_length > MAX_INFO || (length as usize) < ETHERNET_HEADER {
            return Err(Malformed);
        }
        read(layout.ppi_start, layout.ppi_length, &mut self.bytes)?;
        let info = PacketInfo::parse(&self.bytes).map_err(|_| Malformed)?;
        let limit = if info.large_send.is_some() {
            MAX_FRAME as u32
        } else {
            settings.mtu + VLAN_TAG as u32
        };
        if length > limit {
            counters.send_errors.increment();
            return Ok(layout.message_length);
        }
        self.frame.clear();
        read(layout.data_start, length, &mut self.frame.bytes)?;
        match self.send(&info, settings, shared, counters) {
            Ok(()) => {}
            Err(Unsent::Error) => counters.send_errors.increment(),
            Err(Unsent::Discard) => counters.send_discards.increment(),
        }
        Ok(layout.message_length)
    }

    /// Sends the frame that has been read.
    fn send(
        &mut self,
        info: &PacketInfo,
        settings: &Settings,
        shared: &Shared,
        counters: &ChannelCounters,
    ) -> Result<(), Unsent> {
        if !shared.is_cable_in() {
            return Err(Unsent::Discard);
        }
        let frame = &mut self.frame;
        if !shared.policy.allows_spoofing
            && MacAddress::source(&frame.bytes) != Some(settings.address)
        {
            return Err(Unsent::Discard);
        }
        if info.vlan.is_some() {
            counters.vlan_sent.increment();
        }
        let (tag, removed) = match info.vlan {
            Some(tag) => (Some(tag.tci()), 0),
            None => match remove_vlan_tag(frame) {
                Some(tci) => (Some(tci), VLAN_TAG),
                None => (None, 0),
            },
        };
        if frame.bytes.len() < ETHERNET_HEADER {
            // Nothing was behind the tag.
            return Err(Unsent::Error);
        }
        let tag = shared
            .policy
            .vlan
            .outgoing(tag)
            .map_err(|_| Unsent::Discard)?;
        match (info.large_send, info.transmit_checksum()) {
            (Some(send), _) => {
                prepare_large_send(frame, send, settings, removed)?;
                counters.large_sends.increment();
            }
            (None, Some(checksum)) if checksum.is_active() => {
                prepare_checksum(frame, checksum, settings, removed)?;
                counters.checksum_offloads.increment();
            }
            _ => {}
        }
        if let Some(tci) = tag {
            insert_vlan_tag(frame, tci);
        }
        self.hand_over(shared, counters)
    }

    /// Gives the frame to the back end, with what that is not capable of done before.
    fn hand_over(&mut self, shared: &Shared, counters: &ChannelCounters) -> Result<(), Unsent> {
        let backend = &*shared.backend;
        let Capabilities {
            checksum,
            segmentation_ipv4,
            segmentation_ipv6,
        } = backend.capabilities();
        let unsent = |error| match error {
            SendError::Refused => Unsent::Error,
            _ => Unsent::Discard,
        };
        let frame = &mut self.frame;
        if let Some(segmentation) = frame.offload.segmentation {
            let is_capable = if segmentation.is_ipv6 {
                segmentation_ipv6
            } else {
                segmentation_ipv4
            };
            if !is_capable {
                let mut result = Ok(());
                let count = segment(frame, &mut self.segment, |segment| {
                    result = backend.send(segment).map_err(unsent);
                    match result {
                        Ok(()) => ControlFlow::Continue(()),
                        // Its receiver asks for all from there on again.
                        Err(_) => ControlFlow::Break(()),
                    }
                });
                let count = count.ok_or(Unsent::Error)?;
                self.segments_made += count;
                counters.segments_made.add(count as u64);
                result?;
                counters.count_sent(&frame.bytes);
                return Ok(());
            }
        }
        if !checksum {
            complete(frame);
        }
        backend.send(frame).map_err(unsent)?;
        counters.count_sent(&frame.bytes);
        Ok(())
    }
}

/// Leaves the checksums to be made that the guest left, with all that is needed for it. `removed` is for
/// [`leave_checksum`].
fn prepare_checksum(
    frame: &mut Frame,
    checksum: TransmitChecksum,
    settings: &Settings,
    removed: usize,
) -> Result<(), Unsent> {
    let headers = Headers::parse(&frame.bytes).ok_or(Unsent::Error)?;
    let is_ipv6 = headers.version == IpVersion::V6;
    if checksum.is_ipv6() != is_ipv6 {
        return Err(Unsent::Error);
    }
    let offloads = &settings.offloads;
    if checksum.has_ip_header() && !is_ipv6 {
        if !offloads.transmit_ipv4 {
            return Err(Unsent::Error);
        }
        fill_ipv4_header(&mut frame.bytes, &headers);
    }
    let (protocol, is_on) = match (checksum.has_tcp(), checksum.has_udp()) {
        (true, false) if is_ipv6 => (PROTOCOL_TCP, offloads.transmit_tcp_ipv6),
        (true, false) => (PROTOCOL_TCP, offloads.transmit_tcp_ipv4),
        (false, true) if is_ipv6 => (PROTOCOL_UDP, offloads.transmit_udp_ipv6),
        (false, true) => (PROTOCOL_UDP, offloads.transmit_udp_ipv4),
        (false, false) => return Ok(()),
        (true, true) => return Err(Unsent::Error),
    };
    if !is_on || headers.protocol != protocol {
        return Err(Unsent::Error);
    }
    leave_checksum(frame, &headers, checksum.transport_offset(), removed)
}

/// Leaves a transport checksum to be made. `said` is where the guest says that the transport header begins, 0 if it
/// does not say; it counts the `removed` bytes of a tag that the guest put into the frame.
fn leave_checksum(
    frame: &mut Frame,
    headers: &Headers,
    said: u16,
    removed: usize,
) -> Result<(), Unsent> {
    if said != 0 && usize::from(said) != headers.transport + removed {
        return Err(Unsent::Error);
    }
    // What is behind the packet is padding of Ethernet, which must not be summed.
    frame.bytes.truncate(headers.end);
    seed_transport(&mut frame.bytes, headers).ok_or(Unsent::Error)?;
    frame.offload.checksum = Some(PartialChecksum {
        start: u16::try_from(headers.transport).map_err(|_| Unsent::Error)?,
        offset: headers.checksum_offset().ok_or(Unsent::Error)?,
    });
    Ok(())
}

/// Leaves the segmentation to be done that the guest left, with lengths and sums as if nothing were to be cut. `removed`
/// is for [`leave_checksum`].
fn prepare_large_send(
    frame: &mut Frame,
    send: LargeSend,
    settings: &Settings,
    removed: usize,
) -> Result<(), Unsent> {
    let offloads = &settings.offloads;
    let mut headers = Headers::parse(&frame.bytes).ok_or(Unsent::Error)?;
    let is_ipv6 = headers.version == IpVersion::V6;
    let is_on = match (send.is_version_2(), is_ipv6) {
        (true, false) => offloads.large_send_ipv4,
        (true, true) => offloads.large_send_ipv6,
        (false, false) => offloads.large_send_v1,
        (false, true) => false,
    };
    let mss = u16::try_from(send.mss()).map_err(|_| Unsent::Error)?;
    if !is_on || send.is_ipv6() != is_ipv6 || mss == 0 {
        return Err(Unsent::Error);
    }
    // Guests set the length to zero, or leave it: the frame's own counts.
    headers.end = frame.bytes.len();
    let length = match headers.version {
        IpVersion::V4 => headers.end - headers.network,
        IpVersion::V6 => headers.end - headers.network - 40,
    };
    let length = u16::try_from(length).map_err(|_| Unsent::Error)?;
    let at = headers.network + if is_ipv6 { 4 } else { 2 };
    frame
        .bytes
        .get_mut(at..at + 2)
        .ok_or(Unsent::Error)?
        .copy_from_slice(&length.to_be_bytes());
    fill_ipv4_header(&mut frame.bytes, &headers);
    let tcp = headers
        .tcp_header_length(&frame.bytes)
        .ok_or(Unsent::Error)?;
    leave_checksum(frame, &headers, send.tcp_offset(), removed)?;
    let header_length = headers.transport + tcp;
    if headers.end - header_length > mss.into() {
        frame.offload.segmentation = Some(Segmentation {
            is_ipv6,
            segment_size: mss,
            header_length: u16::try_from(header_length).map_err(|_| Unsent::Error)?,
        });
    } else if frame.bytes.len() > settings.mtu as usize + VLAN_TAG {
        // Nothing is to be cut of a frame that is too long.
        return Err(Unsent::Error);
    }
    Ok(())
}
