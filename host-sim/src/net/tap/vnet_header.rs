//! The header before each frame of a TAP interface, which says what is left to be done: virtio's.

use crate::net::frame::{Frame, Offload, PartialChecksum, Segmentation};

/// Bytes of the header.
pub const VNET_HEADER_SIZE: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCP_IPV4: u8 = 1;
const GSO_TCP_IPV6: u8 = 4;

/// The header, little-endian on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    flags: u8,
    gso_type: u8,
    header_length: u16,
    gso_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

impl VnetHeader {
    /// The header of a frame to send.
    #[must_use]
    pub fn new(offload: &Offload) -> Self {
        let mut header = Self::default();
        if let Some(checksum) = offload.checksum {
            header.flags = NEEDS_CHECKSUM;
            header.checksum_start = checksum.start;
            header.checksum_offset = checksum.offset;
        }
        if let Some(segmentation) = offload.segmentation {
            header.gso_type = if segmentation.is_ipv6 {
                GSO_TCP_IPV6
            } else {
                GSO_TCP_IPV4
            };
            header.gso_size = segmentation.segment_size;
            header.header_length = segmentation.header_length;
        }
        header
    }

    /// The header's bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; VNET_HEADER_SIZE] {
        let mut bytes = [self.flags, self.gso_type, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = [
            self.header_length,
            self.gso_size,
            self.checksum_start,
            self.checksum_offset,
        ];
        for (into, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            into.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Takes apart what was read: header and frame. `None` if there is less than a header, or a kind of segmentation
    /// that was not asked for.
    #[must_use]
    pub fn split(bytes: &[u8]) -> Option<Frame> {
        let (header, frame) = bytes.split_first_chunk::<VNET_HEADER_SIZE>()?;
        let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let segmentation = match header[1] & 0x7F {
            GSO_NONE => None,
            kind @ (GSO_TCP_IPV4 | GSO_TCP_IPV6) => Some(Segmentation {
                is_ipv6: kind == GSO_TCP_IPV6,
                segment_size: word(4),
                header_length: word(2),
            }),
            _ => return None,
        };
        let needs_checksum = header[0] & NEEDS_CHECKSUM != 0;
        let offload = Offload {
            checksum: needs_checksum.then(|| PartialChecksum {
                start: word(6),
                offset: word(8),
            }),
            segmentation,
            is_verified: header[0] & DATA_VALID != 0,
        };
        Some(Frame {
            bytes: frame.to_vec(),
            offload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_wire() {
        let checksum = Some(PartialChecksum {
            start: 34,
            offset: 16,
        });
        let segmentation = |is_ipv6| {
            Some(Segmentation {
                is_ipv6,
                segment_size: 1448,
                header_length: 66,
            })
        };
        for offload in [
            Offload::default(),
            Offload {
                checksum,
                ..Offload::default()
            },
            Offload {
                checksum,
                segmentation: segmentation(false),
                is_verified: false,
            },
            Offload {
                checksum,
                segmentation: segmentation(true),
                is_verified: false,
            },
        ] {
            let mut bytes = VnetHeader::new(&offload).to_bytes().to_vec();
            bytes.extend([9; 60]);
            let frame = VnetHeader::split(&bytes).unwrap();
            assert_eq!((frame.offload, frame.bytes), (offload, vec![9; 60]));
        }
        assert_eq!(VnetHeader::split(&[0; 9]), None);
        assert_eq!(VnetHeader::split(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1]), None);
        let known = VnetHeader::new(&Offload {
            checksum,
            segmentation: segmentation(true),
            is_verified: false,
        });
        assert_eq!(known.to_bytes(), [1, 4, 66, 0, 0xA8, 5, 34, 0, 16, 0]);
    }
}
