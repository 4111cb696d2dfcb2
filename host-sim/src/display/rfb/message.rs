//! What clients send.

use thiserror::Error;

use super::pixel_format::PixelFormat;
use crate::display::rectangle::Rectangle;

/// Most encodings in one message.
const MAX_ENCODINGS: u16 = 1024;
/// Most bytes of a clipboard's text, all of which are ignored.
const MAX_CUT_TEXT: u32 = 1 << 20;
/// Bytes of a message that may be parsed at once, at most: a list of encodings.
pub(super) const MAX_MESSAGE: usize = 4 + 4 * MAX_ENCODINGS as usize;

/// Why a client is disconnected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RfbError {
    /// It doesn't speak the protocol.
    #[error("not a version of the protocol: {0:?}")]
    Version([u8; 12]),
    /// It wants a kind of security that was not offered.
    #[error("security type {0} was not offered")]
    Security(u8),
    /// A message of a type that is not known: what follows cannot be understood.
    #[error("unknown message type {0}")]
    UnknownMessage(u8),
    /// A pixel format that makes no sense.
    #[error("pixel format makes no sense: {0}")]
    PixelFormat(&'static str),
    /// More encodings than there are.
    #[error("{0} encodings in one message")]
    Encodings(u16),
    /// A clipboard beyond reason.
    #[error("{0} bytes of clipboard")]
    CutText(u32),
    /// It sends while it should wait, and more than is kept.
    #[error("too much input at once")]
    TooMuchInput,
}

/// Encodings and pseudo-encodings that a client understands, of those that we do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Encodings {
    pub(super) hextile: bool,
    pub(super) cursor: bool,
    pub(super) desktop_size: bool,
}

/// Hextile encoding.
pub(super) const HEXTILE: i32 = 5;
/// Pixels as they are.
pub(super) const RAW: i32 = 0;
/// The pointer's shape.
pub(super) const CURSOR: i32 = -239;
/// A new size of the screen.
pub(super) const DESKTOP_SIZE: i32 = -223;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    SetPixelFormat(PixelFormat),
    SetEncodings(Encodings),
    UpdateRequest {
        incremental: bool,
        rectangle: Rectangle,
    },
    Key {
        pressed: bool,
        keysym: u32,
    },
    Pointer {
        buttons: u8,
        x: u16,
        y: u16,
    },
    /// The clipboard; so many bytes follow that nobody wants.
    CutText {
        length: u32,
    },
}

impl Message {
    /// The first message in `bytes` and its length; `None` if it is not complete yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, RfbError> {
        let Some(&message_type) = bytes.first() else {
            return Ok(None);
        };
        let fixed = match message_type {
            0 => 20,
            2 => 4,
            3 => 10,
            4 | 6 => 8,
            5 => 6,
            other => return Err(RfbError::UnknownMessage(other)),
        };
        let Some(head) = bytes.get(..fixed) else {
            return Ok(None);
        };
        let u16_at = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
        let message = match message_type {
            0 => Self::SetPixelFormat(PixelFormat::parse(&head[4..])?),
            2 => {
                let count = u16_at(2);
                if count > MAX_ENCODINGS {
                    return Err(RfbError::Encodings(count));
                }
                let length = fixed + usize::from(count) * 4;
                let Some(list) = bytes.get(fixed..length) else {
                    return Ok(None);
                };
                return Ok(Some((Self::SetEncodings(encodings(list)), length)));
            }
            3 => {
                let (left, top) = (u32::from(u16_at(2)), u32::from(u16_at(4)));
                let (width, height) = (u32::from(u16_at(6)), u32::from(u16_at(8)));
                Self::UpdateRequest {
                    incremental: head[1] != 0,
                    rectangle: Rectangle::new(left, top, left + width, top + height),
                }
            }
            4 => Self::Key {
                pressed: head[1] != 0,
                keysym: u32_at(4),
            },
            5 => Self::Pointer {
                buttons: head[1],
                x: u16_at(2),
                y: u16_at(4),
            },
            _ => {
                let length = u32_at(4);
                if length > MAX_CUT_TEXT {
                    return Err(RfbError::CutText(length));
                }
                Self::CutText { length }
            }
        };
        Ok(Some((message, fixed)))
    }
}

fn encodings(list: &[u8]) -> Encodings {
    let mut encodings = Encodings::default();
    let mut has_raw_first = false;
    for encoding in list.as_chunks::<4>().0 {
        match i32::from_be_bytes(*encoding) {
            // The client's order is its preference.
            RAW if !encodings.hextile => has_raw_first = true,
            HEXTILE => encodings.hextile = !has_raw_first,
            CURSOR => encodings.cursor = true,
            DESKTOP_SIZE => encodings.desktop_size = true,
            _ => {}
        }
    }
    encodings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_parsed() {
        let parse = |bytes: &[u8]| Message::parse(bytes).unwrap();
        assert_eq!(
            parse(&[3, 1, 0, 1, 0, 2, 0, 3, 0, 4, 99]),
            Some((
                Message::UpdateRequest {
                    incremental: true,
                    rectangle: Rectangle::new(1, 2, 4, 6)
                },
                10
            ))
        );
        assert_eq!(
            parse(&[4, 1, 0, 0, 0, 0, 0xFF, 0x0D]),
            Some((
                Message::Key {
                    pressed: true,
                    keysym: 0xFF0D
                },
                8
            ))
        );
        assert_eq!(
            parse(&[5, 3, 1, 0, 2, 1]),
            Some((
                Message::Pointer {
                    buttons: 3,
                    x: 256,
                    y: 513
                },
                6
            ))
        );
        let encodings = [2, 0, 0, 3, 0, 0, 0, 5, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0x21];
        let Some((Message::SetEncodings(found), 16)) = parse(&encodings) else {
            panic!("no encodings");
        };
        assert!(found.hextile && found.desktop_size && !found.cursor);
        assert_eq!(
            parse(&[6, 0, 0, 0, 0, 0, 0, 9, b'x']),
            Some((Message::CutText { length: 9 }, 8))
        );
        for length in 0..16 {
            assert_eq!(parse(&encodings[..length]), None);
        }
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn nonsense_is_refused() {
        let refuse = |bytes: &[u8]| Message::parse(bytes).unwrap_err();
        for message_type in [1, 7, 99, 255] {
            assert_eq!(
                refuse(&[message_type]),
                RfbError::UnknownMessage(message_type)
            );
        }
        assert_eq!(refuse(&[2, 0, 4, 1]), RfbError::Encodings(1025));
        assert_eq!(
            refuse(&[6, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
            RfbError::CutText(u32::MAX)
        );
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..8) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Ok(Some((_, length))) = Message::parse(&bytes) {
                prop_assert!(length <= bytes.len() && length <= MAX_MESSAGE);
            }
        }
    }
}
