//! Frames, and what is left to be done with them.

/// A transport checksum that is still to be made: over everything from `start` to the end of the packet, into the two
/// bytes at `start + offset`, which hold the sum of the pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Bytes of the frame before the transport header.
    pub start: u16,
    /// Bytes of the transport header before its checksum: 16 for TCP, 6 for UDP.
    pub offset: u16,
}

/// A TCP segment that is still to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Whether it travels in IPv6.
    pub is_ipv6: bool,
    /// Bytes of payload in each segment but the last; not 0.
    pub segment_size: u16,
    /// Bytes of the headers that each segment repeats.
    pub header_length: u16,
}

/// What is left to be done with a frame, and what is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Its transport checksum.
    pub checksum: Option<PartialChecksum>,
    /// It is to be cut; there is always a checksum, too.
    pub segmentation: Option<Segmentation>,
    /// Its transport checksum has been found right. Only in frames received.
    pub is_verified: bool,
}

/// An Ethernet frame, without its check sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// From the destination's address on.
    pub bytes: Vec<u8>,
    /// What is left to be done.
    pub offload: Offload,
}

impl Frame {
    /// A frame with nothing left to be done.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            offload: Offload::default(),
        }
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.offload = Offload::default();
    }

    /// Moves offsets of the offload by the four bytes of a VLAN tag that has been inserted.
    pub fn tag_inserted(&mut self) {
        self.shift(|offset| offset.saturating_add(4));
    }

    /// Moves offsets of the offload by the four bytes of a VLAN tag that has been taken out.
    pub fn tag_removed(&mut self) {
        self.shift(|offset| offset.saturating_sub(4));
    }

    fn shift(&mut self, by: impl Fn(u16) -> u16) {
        if let Some(checksum) = &mut self.offload.checksum {
            checksum.start = by(checksum.start);
        }
        if let Some(segmentation) = &mut self.offload.segmentation {
            segmentation.header_length = by(segmentation.header_length);
        }
    }
}
