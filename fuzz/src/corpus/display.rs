//! Screen, keyboard, mouse, and VNC clients.

use vsc_input::wire::{keyboard, mouse};
use vsc_video::wire::{
    Dirt, Features, GuestMessage, HostMessage, LAST_POINTER_CHUNK, PointerFormat, PointerPosition,
    PointerShape, ProtocolVersion, Rectangle, Resolution, Resolutions, Situation, VramLocation,
    edid,
};

use super::writer::Writer;
use crate::display_host::{WINDOW, device, op as host_op};
use crate::display_wire::op as wire_op;
use crate::rfb::op as rfb_op;

fn situation(depth_bits: u8) -> GuestMessage<'static> {
    GuestMessage::SituationUpdate(Situation {
        user_context: 1,
        video_output_count: 1,
        active: 1,
        vram_offset: 0,
        depth_bits,
        width: 640,
        height: 480,
        pitch: 640 * u32::from(depth_bits) / 8,
    })
}

fn video_messages(version: ProtocolVersion) -> Vec<Vec<u8>> {
    let location = |address| {
        GuestMessage::VramLocation(VramLocation {
            user_context: 5,
            address,
        })
    };
    let shape = PointerShape {
        chunk: LAST_POINTER_CHUNK,
        format: PointerFormat::ARGB,
        width: 2,
        height: 2,
        hot_x: 1,
        hot_y: 1,
        data: &[0x80; 16],
    };
    let rectangles = [Rectangle::EVERYTHING, Rectangle::new(1, 2, 30, 40)];
    let position = PointerPosition {
        is_visible: true,
        video_output: 0,
        x: 3,
        y: -3,
    };
    let planes = PointerShape {
        format: PointerFormat::MONOCHROME,
        data: &[0x40, 0x80, 0xC0, 0],
        ..shape
    };
    let first = PointerShape {
        chunk: 0,
        data: &[1; 8],
        ..shape
    };
    let last = PointerShape {
        data: &[1; 8],
        ..shape
    };
    [
        GuestMessage::VersionRequest(version.wire()),
        GuestMessage::SupportedResolutionsRequest(64),
        GuestMessage::BiosInfoRequest,
        GuestMessage::CapabilityRequest,
        location(Some(WINDOW)),
        GuestMessage::PointerPosition(position),
        GuestMessage::PointerShape(shape),
        situation(version.depth_bits()),
        GuestMessage::Dirt(Dirt {
            video_output: 0,
            rectangles: &rectangles,
        }),
        GuestMessage::PointerShape(planes),
        GuestMessage::PointerShape(first),
        GuestMessage::PointerShape(last),
        location(Some(WINDOW + 0x10_0000)),
        location(None),
        GuestMessage::Error,
    ]
    .iter()
    .map(|message| {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        bytes
    })
    .collect()
}

fn mouse_messages() -> Vec<Vec<u8>> {
    [
        mouse::GuestMessage::ProtocolRequest(mouse::VERSION),
        mouse::GuestMessage::DeviceInfoAck,
    ]
    .into_iter()
    .map(|message| {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        bytes
    })
    .collect()
}

fn keyboard_messages() -> Vec<Vec<u8>> {
    [
        keyboard::GuestMessage::ProtocolRequest(keyboard::VERSION),
        keyboard::GuestMessage::SetLeds(keyboard::Leds::CAPS_LOCK),
    ]
    .iter()
    .map(|message| message.emit().to_vec())
    .collect()
}

pub(super) fn wire() -> Vec<(String, Vec<u8>)> {
    let write = |step: u8, messages: &[Vec<u8>]| {
        let mut writer = Writer::new();
        for message in messages {
            writer.put(&[step]).long_bytes(message);
        }
        writer.finish()
    };
    let edid = edid(1024, 768);
    let list = [Resolution::new(800, 600), Resolution::new(1024, 768)];
    let from_host: Vec<_> = [
        HostMessage::VersionResponse {
            version: ProtocolVersion::V3_5.wire(),
            acceptance: vsc_video::wire::Acceptance::ACCEPTED_WITH_VERSION,
            video_outputs: 1,
        },
        HostMessage::VramLocationAck { user_context: 1 },
        HostMessage::SituationUpdateAck { user_context: 2 },
        HostMessage::FeatureChange {
            features: Features::all(),
            edid: Some(&edid),
        },
        HostMessage::BiosInfoResponse { flags: 1 },
        HostMessage::SupportedResolutionsResponse(Resolutions {
            edid: &edid,
            default_index: 1,
            is_standard: false,
            list: &list,
        }),
        HostMessage::CapabilityResponse { flags: 0 },
    ]
    .iter()
    .map(|message| {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        bytes
    })
    .collect();
    let mouse_host: Vec<_> = [
        mouse::HostMessage::ProtocolResponse {
            version: mouse::VERSION,
            approved: true,
        },
        mouse::HostMessage::DeviceInfo(mouse::DeviceInfo::HYPER_V),
        mouse::HostMessage::InputReport(&[1, 2, 3, 4, 5, 6, 7]),
    ]
    .iter()
    .map(|message| {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        bytes
    })
    .collect();
    let key = keyboard::KeyEvent {
        make_code: 0x1D,
        flags: keyboard::KeyFlags::E0 | keyboard::KeyFlags::BREAK,
    };
    let keyboard_host: Vec<_> = [
        keyboard::HostMessage::ProtocolResponse { accepted: true },
        keyboard::HostMessage::Event(key),
    ]
    .into_iter()
    .map(|message| {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        bytes
    })
    .collect();
    vec![
        (
            "video-guest".into(),
            write(wire_op::VIDEO, &video_messages(ProtocolVersion::V3_5)),
        ),
        ("video-host".into(), write(wire_op::VIDEO, &from_host)),
        (
            "mouse-guest".into(),
            write(wire_op::MOUSE, &mouse_messages()),
        ),
        ("mouse-host".into(), write(wire_op::MOUSE, &mouse_host)),
        (
            "keyboard-guest".into(),
            write(wire_op::KEYBOARD, &keyboard_messages()),
        ),
        (
            "keyboard-host".into(),
            write(wire_op::KEYBOARD, &keyboard_host),
        ),
    ]
}

pub(super) fn host() -> Vec<(String, Vec<u8>)> {
    let write = |device: u8, messages: &[Vec<u8>], operation: &[u8]| {
        let mut writer = Writer::new();
        writer.put(&[device]);
        for message in messages {
            writer.put(&[host_op::FRAME]).long_bytes(message);
            writer.put(&[host_op::WORK]).u32(100_000);
            writer.put(&[host_op::OPERATE]).put(operation);
        }
        writer.put(&[host_op::WORK]).u32(100_000);
        writer.put(&[host_op::REOPEN]);
        writer.put(&[host_op::RAW, 0, 1]).long_bytes(&[1; 16]);
        writer.put(&[host_op::FORGE]).u32(4).bytes(&[0xFF; 4]);
        writer.put(&[host_op::WORK]).u32(1);
        writer.finish()
    };
    let video =
        |version, device, operation: &[u8]| write(device, &video_messages(version), operation);
    let look = [3, 0, 0, 0, 0, 0, 0, 0, 0];
    vec![
        (
            "video-3.5".into(),
            video(ProtocolVersion::V3_5, device::VIDEO, &[2]),
        ),
        (
            "video-3.2".into(),
            video(ProtocolVersion::V3_2, device::VIDEO, &look),
        ),
        (
            "video-3.0".into(),
            video(ProtocolVersion::V3_0, device::OLD_VIDEO, &[0]),
        ),
        (
            "keyboard".into(),
            write(device::KEYBOARD, &keyboard_messages(), &[1, 0x1D, 1]),
        ),
        (
            "text".into(),
            write(
                device::KEYBOARD,
                &keyboard_messages(),
                &[0, 0xFF, 3, b'a', b'B', b'\n'],
            ),
        ),
        (
            "mouse".into(),
            write(device::MOUSE, &mouse_messages(), &[1, 2, 3, 4, 5, 6]),
        ),
    ]
}

pub(super) fn rfb() -> Vec<(String, Vec<u8>)> {
    let client = |version: &[u8], encodings: &[i32], format: &[u8]| {
        let mut list = vec![2, 0, 0, encodings.len() as u8];
        list.extend(encodings.iter().flat_map(|encoding| encoding.to_be_bytes()));
        let mut writer = Writer::new();
        for bytes in [
            version,
            format,
            &list,
            &[3, 0, 0, 0, 0, 0, 0, 64, 0, 48],
            &[4, 1, 0, 0, 0, 0, 0, 0x41, 5, 1, 0, 9, 0, 9],
            &[6, 0, 0, 0, 0, 0, 0, 2, b'h', b'i'],
        ] {
            writer.put(&[rfb_op::BYTES]).long_bytes(bytes);
            writer.put(&[rfb_op::REFRESH, rfb_op::SENT]).u16(0xFFFF);
        }
        for step in [&[rfb_op::SCREEN, 1, 9][..], &[rfb_op::DAMAGE, 1, 1, 9, 9]] {
            writer.put(step).put(&[rfb_op::BYTES]);
            writer.long_bytes(&[3, 1, 0, 0, 0, 0, 0, 64, 0, 48]);
            writer.put(&[rfb_op::REFRESH, rfb_op::SENT]).u16(0xFFFF);
        }
        writer.finish()
    };
    let rgb565 = [
        0, 0, 0, 0, 16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0,
    ];
    let mapped = [0, 0, 0, 0, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    vec![
        ("raw-3.3".into(), client(b"RFB 003.003\n\x01", &[0], &[])),
        (
            "hextile-3.7".into(),
            client(b"RFB 003.007\n\x01\x01", &[5, -239, -223], &rgb565),
        ),
        (
            "hextile-3.8".into(),
            client(b"RFB 003.008\n\x01\x01", &[5, -223], &[]),
        ),
        (
            "colour-map".into(),
            client(b"RFB 003.008\n\x01\x01", &[0, -239], &mapped),
        ),
    ]
}
