//! The mouse's messages, within a pipe frame.

use alloc::vec::Vec;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::MessageError;
use super::hid::REPORT_DESCRIPTOR;

/// The only version, 2.0: major in the high half.
pub const VERSION: u32 = 0x0002_0000;
/// Bytes of the header in front of every body.
pub const HEADER_SIZE: usize = 8;
/// Most bytes of a message, header included.
pub const MAX_MESSAGE_SIZE: usize = 512;
/// Most bytes of a report descriptor.
pub const MAX_REPORT_DESCRIPTOR: usize = 256;

/// Guest: asks for a version.
pub const PROTOCOL_REQUEST: u32 = 0;
/// Host: approves or rejects it.
pub const PROTOCOL_RESPONSE: u32 = 1;
/// Host: what the HID device is.
pub const INITIAL_DEVICE_INFO: u32 = 2;
/// Guest: has understood it.
pub const INITIAL_DEVICE_INFO_ACK: u32 = 3;
/// Host: an input report of the HID device.
pub const INPUT_REPORT: u32 = 4;

/// Bytes that the host's device information has for the report descriptor, zero-padded.
const DESCRIPTOR_AREA: usize = 128;
/// Bytes of the HID descriptor that the host sends.
const HID_DESCRIPTOR_SIZE: usize = 9;
/// Old hosts wrote this tag (logical maximum) where usage maximum was meant.
const WRONG_TAG: u8 = 0x25;
/// What was meant.
const USAGE_MAXIMUM: u8 = 0x29;
/// In front of it.
const USAGE_MINIMUM: u8 = 0x19;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    message_type: U32,
    /// Bytes of body.
    size: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER_SIZE);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Response {
    version: U32,
    approved: u8,
}

const _: () = assert!(size_of::<Response>() == 5);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Attributes {
    size: U32,
    vendor: U16,
    product: U16,
    version: U16,
    reserved: [u8; 22],
}

const _: () = assert!(size_of::<Attributes>() == 32);

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct HidDescriptor {
    length: u8,
    descriptor_type: u8,
    hid_version: U16,
    country_code: u8,
    descriptor_count: u8,
    class_descriptor_type: u8,
    class_descriptor_length: U16,
}

const _: () = assert!(size_of::<HidDescriptor>() == HID_DESCRIPTOR_SIZE);

/// What the HID device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceInfo<'a> {
    /// The maker's number.
    pub vendor: u16,
    /// The product's number.
    pub product: u16,
    /// The product's version.
    pub version: u16,
    /// Layout of its reports, 1 to 256 bytes.
    pub report_descriptor: &'a [u8],
}

impl DeviceInfo<'static> {
    /// Hyper-V's mouse.
    pub const HYPER_V: Self = Self {
        vendor: 0x045E,
        product: 0x0621,
        version: 0x0001,
        report_descriptor: &REPORT_DESCRIPTOR,
    };
}

impl DeviceInfo<'_> {
    /// The report descriptor in private memory, with the wrong tag corrected that old hosts had in it.
    #[must_use]
    pub fn corrected_descriptor(&self) -> Vec<u8> {
        let mut descriptor = self.report_descriptor.to_vec();
        let minimum = descriptor.get(12).copied();
        if let Some(tag) = descriptor.get_mut(14)
            && *tag == WRONG_TAG
            && minimum == Some(USAGE_MINIMUM)
        {
            *tag = USAGE_MAXIMUM;
        }
        descriptor
    }
}

/// A message from the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestMessage {
    /// Asks for a version.
    ProtocolRequest(u32),
    /// The device's information is understood: reports may follow.
    DeviceInfoAck,
}

/// A message from the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostMessage<'a> {
    /// Whether the version is approved.
    ProtocolResponse {
        /// The version asked for.
        version: u32,
        /// It is approved.
        approved: bool,
    },
    /// What the device is.
    DeviceInfo(DeviceInfo<'a>),
    /// An input report, at least one byte.
    InputReport(&'a [u8]),
}

/// Header and body. The body reaches to the end of the message; what the header says about it is returned
/// apart.
fn split(bytes: &[u8]) -> Result<(u32, usize, &[u8]), MessageError> {
    let (header, body) = Header::ref_from_prefix(bytes).map_err(|_| MessageError::Short {
        message_type: 0,
        length: bytes.len(),
        needed: HEADER_SIZE,
    })?;
    let size = usize::try_from(header.size.get()).unwrap_or(usize::MAX);
    Ok((header.message_type.get(), size, body))
}

fn body<T>(message_type: u32, body: &[u8]) -> Result<(&T, &[u8]), MessageError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(body).map_err(|_| MessageError::Short {
        message_type,
        length: HEADER_SIZE.saturating_add(body.len()),
        needed: HEADER_SIZE.saturating_add(size_of::<T>()),
    })
}

fn emit(into: &mut Vec<u8>, message_type: u32, size: usize, body: &[&[u8]]) {
    let header = Header {
        message_type: U32::new(message_type),
        size: U32::new(u32::try_from(size).unwrap_or(u32::MAX)),
    };
    into.extend_from_slice(header.as_bytes());
    for piece in body {
        into.extend_from_slice(piece);
    }
}

impl GuestMessage {
    /// Reads a message from the private copy of a pipe frame's data. Bytes beyond the message are ignored.
    ///
    /// # Errors
    /// The message is too short or of a type that the guest doesn't send.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let (message_type, _, rest) = split(bytes)?;
        match message_type {
            PROTOCOL_REQUEST => {
                let (version, _) = body::<U32>(message_type, rest)?;
                Ok(Self::ProtocolRequest(version.get()))
            }
            INITIAL_DEVICE_INFO_ACK => Ok(Self::DeviceInfoAck),
            other => Err(MessageError::UnknownType(other)),
        }
    }

    /// Appends the message to `into`, without pipe header.
    pub fn emit(self, into: &mut Vec<u8>) {
        match self {
            Self::ProtocolRequest(version) => {
                emit(into, PROTOCOL_REQUEST, 4, &[&version.to_le_bytes()]);
            }
            Self::DeviceInfoAck => emit(into, INITIAL_DEVICE_INFO_ACK, 1, &[&[0]]),
        }
    }
}

impl<'a> HostMessage<'a> {
    /// Reads a message from the private copy of a pipe frame's data.
    ///
    /// # Errors
    /// The message is too short, of a type that the host doesn't send, or its lengths contradict it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let (message_type, size, rest) = split(bytes)?;
        match message_type {
            PROTOCOL_RESPONSE => {
                let (response, _) = body::<Response>(message_type, rest)?;
                Ok(Self::ProtocolResponse {
                    version: response.version.get(),
                    approved: response.approved != 0,
                })
            }
            INITIAL_DEVICE_INFO => device_info(rest).map(Self::DeviceInfo),
            INPUT_REPORT => {
                // Whatever the header claims, no more than the message holds.
                let report = rest.get(..size).unwrap_or(rest);
                if report.is_empty() {
                    return Err(MessageError::Short {
                        message_type,
                        length: HEADER_SIZE,
                        needed: HEADER_SIZE.saturating_add(1),
                    });
                }
                Ok(Self::InputReport(report))
            }
            other => Err(MessageError::UnknownType(other)),
        }
    }

    /// Appends the message to `into`, without pipe header. Of a report descriptor at most 256 bytes are sent.
    pub fn emit(&self, into: &mut Vec<u8>) {
        match *self {
            Self::ProtocolResponse { version, approved } => {
                let response = Response {
                    version: U32::new(version),
                    approved: u8::from(approved),
                };
                let size = size_of::<Response>();
                emit(into, PROTOCOL_RESPONSE, size, &[response.as_bytes()]);
            }
            Self::DeviceInfo(info) => {
                let descriptor = info.report_descriptor;
                let descriptor = descriptor
                    .get(..MAX_REPORT_DESCRIPTOR)
                    .unwrap_or(descriptor);
                let attributes = Attributes {
                    size: U32::new(size_of::<Attributes>() as u32),
                    vendor: U16::new(info.vendor),
                    product: U16::new(info.product),
                    version: U16::new(info.version),
                    reserved: [0; 22],
                };
                let hid = HidDescriptor {
                    length: HID_DESCRIPTOR_SIZE as u8,
                    descriptor_type: 0x21,
                    hid_version: U16::new(0x0101),
                    country_code: 0,
                    descriptor_count: 1,
                    class_descriptor_type: 0x22,
                    // At most 256.
                    class_descriptor_length: U16::new(descriptor.len() as u16),
                };
                // The area has a fixed size; the header counts what is used of it.
                let padding = [0; DESCRIPTOR_AREA];
                let padding = padding.get(descriptor.len()..).unwrap_or_default();
                let parts = [attributes.as_bytes(), hid.as_bytes(), descriptor, padding];
                let size = size_of::<Attributes>()
                    .saturating_add(HID_DESCRIPTOR_SIZE)
                    .saturating_add(descriptor.len());
                emit(into, INITIAL_DEVICE_INFO, size, &parts);
            }
            Self::InputReport(report) => emit(into, INPUT_REPORT, report.len(), &[report]),
        }
    }
}

fn device_info(bytes: &[u8]) -> Result<DeviceInfo<'_>, MessageError> {
    let (attributes, rest) = body::<Attributes>(INITIAL_DEVICE_INFO, bytes)?;
    let (hid, _) = HidDescriptor::ref_from_prefix(rest).map_err(|_| MessageError::Short {
        message_type: INITIAL_DEVICE_INFO,
        length: HEADER_SIZE.saturating_add(bytes.len()),
        needed: HEADER_SIZE + size_of::<Attributes>() + HID_DESCRIPTOR_SIZE,
    })?;
    let out_of_range = |field, value: usize, minimum: usize, maximum: usize| {
        // All are less than 64 KiB.
        let [value, minimum, maximum] = [value as u32, minimum as u32, maximum as u32];
        MessageError::OutOfRange {
            field,
            value,
            minimum,
            maximum,
        }
    };
    let length = usize::from(hid.length);
    let after = rest
        .get(length..)
        .filter(|_| length >= HID_DESCRIPTOR_SIZE)
        .ok_or_else(|| out_of_range("bLength", length, HID_DESCRIPTOR_SIZE, rest.len()))?;
    let size = usize::from(hid.class_descriptor_length.get());
    let most = after.len().min(MAX_REPORT_DESCRIPTOR);
    let report_descriptor = after
        .get(..size)
        .filter(|_| (1..=most).contains(&size))
        .ok_or_else(|| out_of_range("report descriptor length", size, 1, most))?;
    Ok(DeviceInfo {
        vendor: attributes.vendor.get(),
        product: attributes.product.get(),
        version: attributes.version.get(),
        report_descriptor,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn emitted(message: &HostMessage<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        bytes
    }

    fn guest(message: GuestMessage) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        bytes
    }

    // MG1, MG7, MH3
    #[test]
    fn messages_have_their_layouts() {
        assert_eq!(
            guest(GuestMessage::ProtocolRequest(VERSION)),
            [0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 2, 0]
        );
        assert_eq!(
            guest(GuestMessage::DeviceInfoAck),
            [3, 0, 0, 0, 1, 0, 0, 0, 0]
        );
        let response = HostMessage::ProtocolResponse {
            version: VERSION,
            approved: true,
        };
        assert_eq!(emitted(&response), [1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 2, 0, 1]);
        let info = emitted(&HostMessage::DeviceInfo(DeviceInfo::HYPER_V));
        assert_eq!(info.len(), 177);
        assert_eq!(
            info[4..20],
            [108, 0, 0, 0, 32, 0, 0, 0, 0x5E, 4, 0x21, 6, 1, 0, 0, 0]
        );
        assert_eq!(info[40..49], [9, 0x21, 1, 1, 0, 1, 0x22, 67, 0]);
        assert_eq!(info[49..116], REPORT_DESCRIPTOR);
        assert_eq!(info[116..], [0; 61]);
        assert_eq!(
            emitted(&HostMessage::InputReport(&[1, 2, 3, 4, 5, 6, 7])).len(),
            15
        );
    }

    #[test]
    fn messages_survive() {
        for message in [
            GuestMessage::ProtocolRequest(7),
            GuestMessage::DeviceInfoAck,
        ] {
            assert_eq!(GuestMessage::parse(&guest(message)), Ok(message));
        }
        for message in [
            HostMessage::ProtocolResponse {
                version: 9,
                approved: false,
            },
            HostMessage::DeviceInfo(DeviceInfo::HYPER_V),
            HostMessage::InputReport(&[1, 2, 3]),
        ] {
            assert_eq!(HostMessage::parse(&emitted(&message)), Ok(message));
        }
    }

    // MG3
    #[test]
    fn fault_66_descriptor_lengths_that_lie_are_refused() {
        let sound = emitted(&HostMessage::DeviceInfo(DeviceInfo::HYPER_V));
        let with = |at: usize, value: u8| {
            let mut bytes = sound.clone();
            bytes[at] = value;
            HostMessage::parse(&bytes).map(|_| ())
        };
        for length in [0, 1, 8, 138, 255] {
            assert!(matches!(
                with(40, length),
                Err(MessageError::OutOfRange {
                    field: "bLength",
                    ..
                })
            ));
        }
        for length in [0, 129, 255] {
            assert!(matches!(
                with(47, length),
                Err(MessageError::OutOfRange {
                    field: "report descriptor length",
                    ..
                })
            ));
        }
        for length in 0..49 {
            assert!(HostMessage::parse(&sound[..length]).is_err());
        }
        // A longer HID descriptor moves the report descriptor.
        let mut bytes = sound.clone();
        bytes[40] = 12;
        assert_eq!(
            HostMessage::parse(&bytes),
            Ok(HostMessage::DeviceInfo(DeviceInfo {
                report_descriptor: &bytes[52..52 + 67],
                ..DeviceInfo::HYPER_V
            }))
        );
    }

    #[test]
    fn fault_67_descriptors_beyond_the_cap_are_refused() {
        let mut bytes = emitted(&HostMessage::DeviceInfo(DeviceInfo::HYPER_V));
        bytes.resize(60_000, 0xA1);
        for (length, sound) in [(256u16, true), (257, false), (u16::MAX, false)] {
            bytes[47..49].copy_from_slice(&length.to_le_bytes());
            assert_eq!(HostMessage::parse(&bytes).is_ok(), sound, "{length}");
        }
    }

    // MG4
    #[test]
    fn a_report_is_never_longer_than_its_message() {
        let mut bytes = emitted(&HostMessage::InputReport(&[1, 2, 3, 4, 5, 6, 7]));
        bytes[4..8].fill(0xFF);
        assert_eq!(
            HostMessage::parse(&bytes),
            Ok(HostMessage::InputReport(&[1, 2, 3, 4, 5, 6, 7]))
        );
        bytes[4..8].fill(0);
        assert!(HostMessage::parse(&bytes).is_err());
    }

    // MG6
    #[test]
    fn the_wrong_tag_of_old_hosts_is_corrected() {
        let mut descriptor = REPORT_DESCRIPTOR;
        descriptor[14] = 0x25;
        let info = DeviceInfo {
            report_descriptor: &descriptor,
            ..DeviceInfo::HYPER_V
        };
        assert_eq!(info.corrected_descriptor(), REPORT_DESCRIPTOR);
        descriptor[12] = 0;
        let info = DeviceInfo {
            report_descriptor: &descriptor,
            ..DeviceInfo::HYPER_V
        };
        assert_eq!(info.corrected_descriptor(), descriptor);
    }

    proptest! {
        #[test]
        fn any_bytes(kind in 0u32..6, body in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = kind.to_le_bytes().to_vec();
            bytes.extend([200, 0, 0, 0]);
            bytes.extend(&body);
            if let Ok(message) = GuestMessage::parse(&bytes) {
                prop_assert_eq!(GuestMessage::parse(&guest(message)), Ok(message));
            }
            if let Ok(message) = HostMessage::parse(&bytes) {
                let again = emitted(&message);
                prop_assert_eq!(HostMessage::parse(&again), Ok(message));
            }
            let _ = HostMessage::parse(&body);
        }
    }
}
