//! What an adapter has done, for its guest, operators and tests.

use vsc_net::wire::ndis::Statistics;

use crate::net::MacAddress;
use crate::vsp::counters::counters;

counters! {
    /// What an adapter has done since it was made, over all its channels. "Sent" is by the guest.
    NetworkCounters {
        /// Frames sent to one address. Segments that the host cut count as one.
        sent_unicast,
        /// Frames sent to groups.
        sent_multicast,
        /// Frames sent to everybody.
        sent_broadcast,
        /// Bytes of frames sent to one address.
        sent_unicast_bytes,
        /// Bytes of frames sent to groups.
        sent_multicast_bytes,
        /// Bytes of frames sent to everybody.
        sent_broadcast_bytes,
        /// Frames not sent because something is wrong with them.
        send_errors,
        /// Frames not sent for another reason: no room, link down, policy.
        send_discards,
        /// Frames received for the guest's own address.
        received_unicast,
        /// Frames received for groups.
        received_multicast,
        /// Frames received for everybody.
        received_broadcast,
        /// Bytes of frames received for the guest's own address.
        received_unicast_bytes,
        /// Bytes of frames received for groups.
        received_multicast_bytes,
        /// Bytes of frames received for everybody.
        received_broadcast_bytes,
        /// Frames not received because something is wrong with them.
        receive_errors,
        /// Frames not received for another reason: link down, channel closed, policy.
        receive_discards,
        /// Frames that the guest's filter kept out.
        filtered,
        /// Frames sent that left their checksum to the host.
        checksum_offloads,
        /// Frames sent that left their segmentation to the host.
        large_sends,
        /// Segments that the host has cut them into itself.
        segments_made,
        /// Frames received whose checksum was reported as right.
        checksums_verified,
        /// Frames sent with a VLAN tag in their per-packet information.
        vlan_sent,
        /// Frames received with a VLAN tag in their per-packet information.
        vlan_received,
        /// Messages sent with several packets.
        aggregated,
        /// Control messages of RNDIS.
        control_messages,
        /// Messages refused because they are malformed.
        malformed,
        /// Packets of received frames written to the ring.
        receive_batches,
        /// Completions of such packets.
        receive_completions,
        /// Times that frames had to wait for a section.
        sections_exhausted,
        /// Times that frames or completions had to wait for room in the ring.
        ring_full,
        /// Times that a batch called for a signal to the guest.
        signals,
        /// Changes of the link that the guest was told of.
        link_indications,
        /// Channels opened, sub-channels included.
        channels_opened,
    }
}

impl ChannelCounters {
    pub(super) fn count_sent(&self, frame: &[u8]) {
        let (frames, bytes) = match MacAddress::destination(frame) {
            Some(MacAddress::BROADCAST) => (&self.sent_broadcast, &self.sent_broadcast_bytes),
            Some(address) if address.is_multicast() => {
                (&self.sent_multicast, &self.sent_multicast_bytes)
            }
            _ => (&self.sent_unicast, &self.sent_unicast_bytes),
        };
        frames.increment();
        bytes.add(frame.len() as u64);
    }

    pub(super) fn count_received(&self, frame: &[u8]) {
        let (frames, bytes) = match MacAddress::destination(frame) {
            Some(MacAddress::BROADCAST) => {
                (&self.received_broadcast, &self.received_broadcast_bytes)
            }
            Some(address) if address.is_multicast() => {
                (&self.received_multicast, &self.received_multicast_bytes)
            }
            _ => (&self.received_unicast, &self.received_unicast_bytes),
        };
        frames.increment();
        bytes.add(frame.len() as u64);
    }
}

impl NetworkCounters {
    /// Frames that the guest sent.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent_unicast + self.sent_multicast + self.sent_broadcast
    }

    /// Frames that the guest received.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received_unicast + self.received_multicast + self.received_broadcast
    }

    /// Bytes of frames that the guest sent.
    #[must_use]
    pub const fn sent_bytes(&self) -> u64 {
        self.sent_unicast_bytes + self.sent_multicast_bytes + self.sent_broadcast_bytes
    }

    /// Bytes of frames that the guest received.
    #[must_use]
    pub const fn received_bytes(&self) -> u64 {
        self.received_unicast_bytes + self.received_multicast_bytes + self.received_broadcast_bytes
    }

    /// As the guest asks for them, with the frames that the back end had no room for.
    pub(super) fn statistics(&self, dropped: u64) -> Statistics {
        let word = zerocopy::little_endian::U64::new;
        Statistics {
            in_discards: word(self.receive_discards.saturating_add(dropped)),
            in_errors: word(self.receive_errors),
            in_octets: word(self.received_bytes()),
            in_unicast_packets: word(self.received_unicast),
            in_multicast_packets: word(self.received_multicast),
            in_broadcast_packets: word(self.received_broadcast),
            out_octets: word(self.sent_bytes()),
            out_unicast_packets: word(self.sent_unicast),
            out_multicast_packets: word(self.sent_multicast),
            out_broadcast_packets: word(self.sent_broadcast),
            out_errors: word(self.send_errors),
            out_discards: word(self.send_discards),
            in_unicast_octets: word(self.received_unicast_bytes),
            in_multicast_octets: word(self.received_multicast_bytes),
            in_broadcast_octets: word(self.received_broadcast_bytes),
            out_unicast_octets: word(self.sent_unicast_bytes),
            out_multicast_octets: word(self.sent_multicast_bytes),
            out_broadcast_octets: word(self.sent_broadcast_bytes),
            ..Statistics::zero()
        }
    }
}
