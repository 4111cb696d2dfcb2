//! Pipe framing: the 8-byte header in front of every payload of a pipe-mode channel.
//!
//! Integration services, keyboard, mouse and video are message pipes: one packet is one message. hvsock is
//! a byte pipe, where a frame of length 0 means "no more to come".

use core::fmt;

/// Bytes in the header.
pub const HEADER_SIZE: usize = 8;
/// Most bytes that one frame may carry.
pub const MAXIMUM_LENGTH: usize = 16384;

/// Type of a pipe frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FrameType(pub u32);

impl FrameType {
    /// Data.
    pub const DATA: Self = Self(1);
    /// A partly consumed frame. Exists only inside a reader that keeps its state in the ring; never sent.
    pub const PARTIAL: Self = Self(2);
    /// Sets up GPA-direct transfer.
    pub const SETUP_GPA_DIRECT: Self = Self(3);
    /// Tears down GPA-direct transfer.
    pub const TEARDOWN_GPA_DIRECT: Self = Self(4);
}

/// A pipe frame that violates the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PipeError {
    /// The payload does not hold a header.
    TooShort {
        /// Bytes in the packet's payload.
        payload: usize,
    },
    /// The frame does not carry data.
    UnknownType {
        /// Type of the frame.
        frame_type: u32,
    },
    /// The length is larger than the packet's payload, or than a frame may be.
    Length {
        /// Length claimed.
        length: u32,
        /// The most that was possible.
        maximum: usize,
    },
    /// The data to send is larger than a frame may be.
    TooLarge {
        /// Bytes to send.
        length: usize,
    },
}

impl fmt::Display for PipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { payload } => {
                write!(f, "{payload} bytes of payload hold no pipe header")
            }
            Self::UnknownType { frame_type } => write!(f, "unknown pipe frame type {frame_type}"),
            Self::Length { length, maximum } => {
                write!(f, "pipe frame length {length} exceeds {maximum}")
            }
            Self::TooLarge { length } => write!(
                f,
                "{length} bytes exceed the {MAXIMUM_LENGTH} of a pipe frame"
            ),
        }
    }
}

impl core::error::Error for PipeError {}

/// The header for `length` bytes of data, to be sent as the first piece of the packet's payload.
///
/// # Errors
/// [`PipeError::TooLarge`] beyond [`MAXIMUM_LENGTH`].
pub fn emit(length: usize) -> Result<[u8; HEADER_SIZE], PipeError> {
    if length > MAXIMUM_LENGTH {
        return Err(PipeError::TooLarge { length });
    }
    let word = u64::from(FrameType::DATA.0) | (length as u64) << 32;
    Ok(word.to_le_bytes())
}

/// The data in a received packet's payload, without header and padding.
///
/// # Errors
/// The header is incomplete, not of type data, or claims more than there is or may be.
pub fn parse(payload: &[u8]) -> Result<&[u8], PipeError> {
    let Some((header, rest)) = payload.split_first_chunk::<HEADER_SIZE>() else {
        return Err(PipeError::TooShort {
            payload: payload.len(),
        });
    };
    let header = u64::from_le_bytes(*header);
    let frame_type = header as u32;
    if FrameType(frame_type) != FrameType::DATA {
        return Err(PipeError::UnknownType { frame_type });
    }
    let length = (header >> 32) as u32;
    let maximum = rest.len().min(MAXIMUM_LENGTH);
    usize::try_from(length)
        .ok()
        .filter(|length| *length <= maximum)
        .and_then(|length| rest.get(..length))
        .ok_or(PipeError::Length { length, maximum })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn what_is_emitted_parses() {
        for length in [0usize, 1, 7, 8, 300, MAXIMUM_LENGTH] {
            let mut payload = emit(length).unwrap().to_vec();
            payload.resize(HEADER_SIZE + length.next_multiple_of(8), 0x5A);
            assert_eq!(parse(&payload).unwrap(), &vec![0x5A; length]);
        }
        assert_eq!(
            emit(MAXIMUM_LENGTH + 1),
            Err(PipeError::TooLarge { length: 16385 })
        );
    }

    #[test]
    fn lies_are_refused() {
        assert_eq!(parse(&[1; 7]), Err(PipeError::TooShort { payload: 7 }));
        let frame = |frame_type: u32, length: u32, room: usize| {
            let mut payload = frame_type.to_le_bytes().to_vec();
            payload.extend(length.to_le_bytes());
            payload.resize(HEADER_SIZE + room, 0);
            parse(&payload).map(<[u8]>::len)
        };
        assert_eq!(frame(1, 16, 16), Ok(16));
        for frame_type in [0, 2, 3, 4, u32::MAX] {
            assert_eq!(
                frame(frame_type, 8, 8),
                Err(PipeError::UnknownType { frame_type })
            );
        }
        for (length, room, maximum) in [(17, 16, 16), (u32::MAX, 16, 16), (16385, 20000, 16384)] {
            assert_eq!(
                frame(1, length, room),
                Err(PipeError::Length { length, maximum })
            );
        }
    }
}
