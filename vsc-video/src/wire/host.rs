//! What the host sends.

use alloc::vec::Vec;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, IntoBytes};

use super::edid::EDID_SIZE;
use super::guest::{emit, prefix};
use super::layout::{self, Header, Resolution};
use super::{Acceptance, Features, MAX_RESOLUTIONS, MessageError, MessageType, Version};

/// The screen that the host imitates and the resolutions that it offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resolutions<'a> {
    /// The screen's identity, an EDID 1.4 block.
    pub edid: &'a [u8; EDID_SIZE],
    /// Which of the resolutions is preferred: an index into a list that is never empty.
    pub default_index: u8,
    /// Whether the list is the built-in one; of unknown use.
    pub is_standard: bool,
    /// 1 to 64 resolutions.
    pub list: &'a [Resolution],
}

/// A message from the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostMessage<'a> {
    /// Something went wrong in the host.
    Error,
    /// Answer to a request for a version.
    VersionResponse {
        /// The version asked for or, if so accepted, the one that the host speaks.
        version: Version,
        /// Whether it is accepted.
        acceptance: Acceptance,
        /// Number of screens.
        video_outputs: u8,
    },
    /// The frame buffer is there.
    VramLocationAck {
        /// That of the location.
        user_context: u64,
    },
    /// The mode has been looked at.
    SituationUpdateAck {
        /// That of the update.
        user_context: u64,
    },
    /// Which reports the host wants from now on.
    FeatureChange {
        /// The reports.
        features: Features,
        /// The screen's identity, in the message's long form.
        edid: Option<&'a [u8; EDID_SIZE]>,
    },
    /// About the firmware: bit 0, the guest may release the device.
    BiosInfoResponse {
        /// Flags.
        flags: u32,
    },
    /// The list of resolutions.
    SupportedResolutionsResponse(Resolutions<'a>),
    /// Capabilities: bit 0, the host locks the guest's screen when a viewer goes away.
    CapabilityResponse {
        /// Flags.
        flags: u32,
    },
}

impl<'a> HostMessage<'a> {
    /// Reads a message from the private copy of a pipe frame's data. Bytes beyond the message are ignored.
    ///
    /// # Errors
    /// The message is too short, of a type that the host doesn't send, or a list of resolutions is empty,
    /// longer than 64, longer than the message or without its default.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let Ok((header, body)) = Header::read_from_prefix(bytes) else {
            return Err(MessageError::NoHeader {
                length: bytes.len(),
            });
        };
        let message_type = MessageType(header.message_type.get());
        Ok(match message_type {
            MessageType::ERROR => Self::Error,
            MessageType::VERSION_RESPONSE => {
                let (response, _) = prefix::<layout::VersionResponse>(message_type, body)?;
                Self::VersionResponse {
                    version: Version(response.version.get()),
                    acceptance: Acceptance(response.acceptance),
                    video_outputs: response.video_outputs,
                }
            }
            MessageType::VRAM_LOCATION_ACK => {
                let (body, _) = prefix::<layout::Acknowledgement>(message_type, body)?;
                Self::VramLocationAck {
                    user_context: body.user_context.get(),
                }
            }
            MessageType::SITUATION_UPDATE_ACK => {
                let (body, _) = prefix::<layout::Acknowledgement>(message_type, body)?;
                Self::SituationUpdateAck {
                    user_context: body.user_context.get(),
                }
            }
            MessageType::FEATURE_CHANGE => {
                let (flags, rest) = prefix::<layout::FeatureChange>(message_type, body)?;
                let mut features = Features::empty();
                features.set(Features::DIRT, flags.is_dirt_needed != 0);
                let position = flags.is_pointer_position_needed != 0;
                features.set(Features::POINTER_POSITION, position);
                features.set(Features::POINTER_SHAPE, flags.is_pointer_shape_needed != 0);
                features.set(Features::SITUATION, flags.is_situation_needed != 0);
                Self::FeatureChange {
                    features,
                    edid: rest.first_chunk(),
                }
            }
            MessageType::BIOS_INFO_RESPONSE => {
                let (body, _) = prefix::<layout::BiosInfo>(message_type, body)?;
                Self::BiosInfoResponse {
                    flags: body.flags.get(),
                }
            }
            MessageType::SUPPORTED_RESOLUTIONS_RESPONSE => {
                Self::SupportedResolutionsResponse(resolutions(body)?)
            }
            MessageType::CAPABILITY_RESPONSE => {
                let (body, _) = prefix::<layout::Capabilities>(message_type, body)?;
                Self::CapabilityResponse {
                    flags: body.flags.get(),
                }
            }
            other => return Err(MessageError::UnknownType(other)),
        })
    }

    /// Appends the message to `into`, without pipe header. Of a list of resolutions at most 64 are sent.
    pub fn emit(&self, into: &mut Vec<u8>) {
        match *self {
            Self::Error => emit(into, MessageType::ERROR, &[]),
            Self::VersionResponse {
                version,
                acceptance,
                video_outputs,
            } => {
                let body = layout::VersionResponse {
                    version: U32::new(version.0),
                    acceptance: acceptance.0,
                    video_outputs,
                };
                emit(into, MessageType::VERSION_RESPONSE, &[body.as_bytes()]);
            }
            Self::VramLocationAck { user_context } => {
                let body = user_context.to_le_bytes();
                emit(into, MessageType::VRAM_LOCATION_ACK, &[&body]);
            }
            Self::SituationUpdateAck { user_context } => {
                let user_context = U64::new(user_context);
                let body = layout::Acknowledgement { user_context };
                emit(into, MessageType::SITUATION_UPDATE_ACK, &[body.as_bytes()]);
            }
            Self::FeatureChange { features, edid } => {
                let flag = |feature| u8::from(features.contains(feature));
                let body = layout::FeatureChange {
                    is_dirt_needed: flag(Features::DIRT),
                    is_pointer_position_needed: flag(Features::POINTER_POSITION),
                    is_pointer_shape_needed: flag(Features::POINTER_SHAPE),
                    is_situation_needed: flag(Features::SITUATION),
                };
                let edid = edid.map_or(&[][..], |edid| edid);
                emit(into, MessageType::FEATURE_CHANGE, &[body.as_bytes(), edid]);
            }
            Self::BiosInfoResponse { flags } => {
                let body = layout::BiosInfo {
                    flags: U32::new(flags),
                    reserved: [0; 12],
                };
                emit(into, MessageType::BIOS_INFO_RESPONSE, &[body.as_bytes()]);
            }
            Self::SupportedResolutionsResponse(resolutions) => {
                let list = resolutions.list;
                let list = list.get(..MAX_RESOLUTIONS).unwrap_or(list);
                let body = layout::ResolutionsHead {
                    edid: *resolutions.edid,
                    // At most 64.
                    count: list.len() as u8,
                    default_index: resolutions.default_index,
                    is_standard: u8::from(resolutions.is_standard),
                };
                let body = [body.as_bytes(), list.as_bytes()];
                emit(into, MessageType::SUPPORTED_RESOLUTIONS_RESPONSE, &body);
            }
            Self::CapabilityResponse { flags } => {
                let body = layout::Capabilities {
                    flags: U32::new(flags),
                    reserved: [U32::ZERO; 15],
                };
                emit(into, MessageType::CAPABILITY_RESPONSE, &[body.as_bytes()]);
            }
        }
    }
}

fn resolutions(body: &[u8]) -> Result<Resolutions<'_>, MessageError> {
    let message_type = MessageType::SUPPORTED_RESOLUTIONS_RESPONSE;
    let (head, rest) = prefix::<layout::ResolutionsHead>(message_type, body)?;
    let out_of_range = |field, value: u8, maximum: usize| MessageError::OutOfRange {
        message_type,
        field,
        value: u32::from(value),
        maximum: u32::try_from(maximum).unwrap_or(u32::MAX),
    };
    let count = usize::from(head.count);
    let most = (rest.len() / size_of::<Resolution>()).min(MAX_RESOLUTIONS);
    if count > most {
        return Err(out_of_range("resolution_count", head.count, most));
    }
    // An empty list has no default, so it is refused as well.
    if head.default_index >= head.count {
        let maximum = count.saturating_sub(1);
        return Err(out_of_range("default_index", head.default_index, maximum));
    }
    let (list, _) = <[Resolution]>::ref_from_prefix_with_elems(rest, count)
        .map_err(|_| out_of_range("resolution_count", head.count, most))?;
    Ok(Resolutions {
        edid: &head.edid,
        default_index: head.default_index,
        is_standard: head.is_standard != 0,
        list,
    })
}
