//! What the guest sends.

use alloc::vec::Vec;

use zerocopy::little_endian::{I32, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::layout::{self, Header, Rectangle};
use super::{HEADER_SIZE, MessageError, MessageType, PointerFormat, Version};

/// Where the guest's frame buffer lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VramLocation {
    /// Comes back in the acknowledgement.
    pub user_context: u64,
    /// Guest-physical address; `None`: the guest withdraws its frame buffer.
    pub address: Option<u64>,
}

/// The mode that the guest has set, or any nonsense: nothing is promised about the values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Situation {
    /// Comes back in the acknowledgement.
    pub user_context: u64,
    /// Number of screens; 1.
    pub video_output_count: u8,
    /// 1 from drivers, 0 from firmware; advisory only.
    pub active: u8,
    /// First byte of the picture in video RAM; 0.
    pub vram_offset: u32,
    /// Bits of each pixel.
    pub depth_bits: u8,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next.
    pub pitch: u32,
}

/// Where the pointer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PointerPosition {
    /// Whether it is to be seen.
    pub is_visible: bool,
    /// The screen; 0.
    pub video_output: u8,
    /// Column of the shape's upper left corner.
    pub x: i32,
    /// Row of the shape's upper left corner.
    pub y: i32,
}

/// A chunk of the pointer's shape; nothing is promised about the values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PointerShape<'a> {
    /// Number of the chunk; [`LAST_POINTER_CHUNK`](super::LAST_POINTER_CHUNK) for the last or only one.
    pub chunk: u8,
    /// Layout of the data.
    pub format: PointerFormat,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Column of the pixel that points.
    pub hot_x: u32,
    /// Row of the pixel that points.
    pub hot_y: u32,
    /// This chunk's data, up to the end of the message.
    pub data: &'a [u8],
}

/// Which rectangles have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dirt<'a> {
    /// The screen; 0.
    pub video_output: u8,
    /// The rectangles; at most 255 are sent.
    pub rectangles: &'a [Rectangle],
}

/// A message from the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestMessage<'a> {
    /// Something went wrong in the guest.
    Error,
    /// Asks for a version.
    VersionRequest(Version),
    /// Where the frame buffer lies.
    VramLocation(VramLocation),
    /// The mode.
    SituationUpdate(Situation),
    /// Where the pointer is.
    PointerPosition(PointerPosition),
    /// How the pointer looks.
    PointerShape(PointerShape<'a>),
    /// What has changed.
    Dirt(Dirt<'a>),
    /// Asks about the firmware.
    BiosInfoRequest,
    /// Asks for at most so many resolutions.
    SupportedResolutionsRequest(u8),
    /// Asks for the host's capabilities.
    CapabilityRequest,
}

/// A body of fixed size at the start of `body`, and what follows it.
pub(super) fn prefix<T>(message_type: MessageType, body: &[u8]) -> Result<(&T, &[u8]), MessageError>
where
    T: FromBytes + KnownLayout + Immutable + zerocopy::Unaligned,
{
    T::ref_from_prefix(body).map_err(|_| MessageError::Short {
        message_type,
        length: HEADER_SIZE.saturating_add(body.len()),
        needed: HEADER_SIZE.saturating_add(size_of::<T>()),
    })
}

/// Appends a message with a body in pieces.
pub(super) fn emit(into: &mut Vec<u8>, message_type: MessageType, body: &[&[u8]]) {
    let length = body
        .iter()
        .fold(HEADER_SIZE, |sum, piece| sum.saturating_add(piece.len()));
    let header = Header {
        message_type: U32::new(message_type.0),
        size: U32::new(u32::try_from(length).unwrap_or(u32::MAX)),
    };
    into.extend_from_slice(header.as_bytes());
    for piece in body {
        into.extend_from_slice(piece);
    }
}

impl<'a> GuestMessage<'a> {
    /// Reads a message from the private copy of a pipe frame's data. Bytes beyond the message are ignored.
    ///
    /// # Errors
    /// The message is too short, holds less than it counts, or is of a type that the guest doesn't send.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let Ok((header, body)) = Header::read_from_prefix(bytes) else {
            return Err(MessageError::NoHeader {
                length: bytes.len(),
            });
        };
        let message_type = MessageType(header.message_type.get());
        Ok(match message_type {
            MessageType::ERROR => Self::Error,
            MessageType::VERSION_REQUEST => {
                let (request, _) = prefix::<layout::VersionRequest>(message_type, body)?;
                Self::VersionRequest(Version(request.version.get()))
            }
            MessageType::VRAM_LOCATION => {
                let (location, _) = prefix::<layout::VramLocation>(message_type, body)?;
                Self::VramLocation(VramLocation {
                    user_context: location.user_context.get(),
                    address: (location.is_specified != 0).then(|| location.address.get()),
                })
            }
            MessageType::SITUATION_UPDATE => {
                let (situation, _) = prefix::<layout::Situation>(message_type, body)?;
                Self::SituationUpdate(Situation {
                    user_context: situation.user_context.get(),
                    video_output_count: situation.video_output_count,
                    active: situation.active,
                    vram_offset: situation.vram_offset.get(),
                    depth_bits: situation.depth_bits,
                    width: situation.width.get(),
                    height: situation.height.get(),
                    pitch: situation.pitch.get(),
                })
            }
            MessageType::POINTER_POSITION => {
                let (position, _) = prefix::<layout::PointerPosition>(message_type, body)?;
                Self::PointerPosition(PointerPosition {
                    is_visible: position.is_visible != 0,
                    video_output: position.video_output,
                    x: position.x.get(),
                    y: position.y.get(),
                })
            }
            MessageType::POINTER_SHAPE => {
                let (shape, data) = prefix::<layout::PointerShape>(message_type, body)?;
                Self::PointerShape(PointerShape {
                    chunk: shape.chunk,
                    format: PointerFormat(shape.format),
                    width: shape.width.get(),
                    height: shape.height.get(),
                    hot_x: shape.hot_x.get(),
                    hot_y: shape.hot_y.get(),
                    data,
                })
            }
            MessageType::DIRT => {
                let (dirt, rest) = prefix::<layout::Dirt>(message_type, body)?;
                let count = usize::from(dirt.count);
                let (rectangles, _) = <[Rectangle]>::ref_from_prefix_with_elems(rest, count)
                    .map_err(|_| MessageError::OutOfRange {
                        message_type,
                        field: "dirt_count",
                        value: u32::from(dirt.count),
                        // Less than 255, since the count did not fit.
                        maximum: (rest.len() / size_of::<Rectangle>()) as u32,
                    })?;
                Self::Dirt(Dirt {
                    video_output: dirt.video_output,
                    rectangles,
                })
            }
            MessageType::BIOS_INFO_REQUEST => Self::BiosInfoRequest,
            MessageType::SUPPORTED_RESOLUTIONS_REQUEST => {
                let (request, _) = prefix::<layout::ResolutionsRequest>(message_type, body)?;
                Self::SupportedResolutionsRequest(request.maximum)
            }
            MessageType::CAPABILITY_REQUEST => Self::CapabilityRequest,
            other => return Err(MessageError::UnknownType(other)),
        })
    }

    /// Appends the message to `into`, without pipe header. Of more than 255 dirty rectangles none is sent but
    /// [`Rectangle::EVERYTHING`].
    pub fn emit(&self, into: &mut Vec<u8>) {
        match self {
            Self::Error => emit(into, MessageType::ERROR, &[]),
            Self::VersionRequest(version) => {
                emit(
                    into,
                    MessageType::VERSION_REQUEST,
                    &[&version.0.to_le_bytes()],
                );
            }
            Self::VramLocation(location) => {
                let body = layout::VramLocation {
                    user_context: U64::new(location.user_context),
                    is_specified: u8::from(location.address.is_some()),
                    address: U64::new(location.address.unwrap_or(0)),
                };
                emit(into, MessageType::VRAM_LOCATION, &[body.as_bytes()]);
            }
            Self::SituationUpdate(situation) => {
                let body = layout::Situation {
                    user_context: U64::new(situation.user_context),
                    video_output_count: situation.video_output_count,
                    active: situation.active,
                    vram_offset: U32::new(situation.vram_offset),
                    depth_bits: situation.depth_bits,
                    width: U32::new(situation.width),
                    height: U32::new(situation.height),
                    pitch: U32::new(situation.pitch),
                };
                emit(into, MessageType::SITUATION_UPDATE, &[body.as_bytes()]);
            }
            Self::PointerPosition(position) => {
                let body = layout::PointerPosition {
                    is_visible: u8::from(position.is_visible),
                    video_output: position.video_output,
                    x: I32::new(position.x),
                    y: I32::new(position.y),
                };
                emit(into, MessageType::POINTER_POSITION, &[body.as_bytes()]);
            }
            Self::PointerShape(shape) => {
                let body = layout::PointerShape {
                    chunk: shape.chunk,
                    format: shape.format.0,
                    width: U32::new(shape.width),
                    height: U32::new(shape.height),
                    hot_x: U32::new(shape.hot_x),
                    hot_y: U32::new(shape.hot_y),
                };
                emit(
                    into,
                    MessageType::POINTER_SHAPE,
                    &[body.as_bytes(), shape.data],
                );
            }
            Self::Dirt(dirt) => {
                let everything = [Rectangle::EVERYTHING];
                let (count, rectangles) = match u8::try_from(dirt.rectangles.len()) {
                    Ok(count) => (count, dirt.rectangles),
                    Err(_) => (1, everything.as_slice()),
                };
                let body = layout::Dirt {
                    video_output: dirt.video_output,
                    count,
                };
                emit(
                    into,
                    MessageType::DIRT,
                    &[body.as_bytes(), rectangles.as_bytes()],
                );
            }
            Self::BiosInfoRequest => emit(into, MessageType::BIOS_INFO_REQUEST, &[]),
            Self::SupportedResolutionsRequest(maximum) => {
                emit(
                    into,
                    MessageType::SUPPORTED_RESOLUTIONS_REQUEST,
                    &[&[*maximum]],
                );
            }
            Self::CapabilityRequest => emit(into, MessageType::CAPABILITY_REQUEST, &[]),
        }
    }
}
