//! Every message there and back, and every lie refused.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn emitted(message: &GuestMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    bytes
}

fn emitted_by_host(message: &HostMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    bytes
}

const SITUATION: Situation = Situation {
    user_context: 0x0102_0304_0506_0708,
    video_output_count: 1,
    active: 1,
    vram_offset: 0,
    depth_bits: 32,
    width: 1024,
    height: 768,
    pitch: 4096,
};

const RECTANGLES: &[Rectangle] = &[Rectangle::EVERYTHING, Rectangle::new(-1, 2, 3, -4)];

fn guest_messages() -> Vec<(GuestMessage<'static>, usize)> {
    vec![
        (GuestMessage::Error, 8),
        (GuestMessage::VersionRequest(Version::new(3, 5)), 12),
        (
            GuestMessage::VramLocation(VramLocation {
                user_context: 7,
                address: Some(0xF800_0000),
            }),
            25,
        ),
        (GuestMessage::SituationUpdate(SITUATION), 35),
        (
            GuestMessage::PointerPosition(PointerPosition {
                is_visible: true,
                video_output: 0,
                x: -3,
                y: i32::MAX,
            }),
            18,
        ),
        (
            GuestMessage::PointerShape(PointerShape {
                chunk: LAST_POINTER_CHUNK,
                format: PointerFormat::ARGB,
                width: 1,
                height: 1,
                hot_x: 0,
                hot_y: 0,
                data: &[0, 1, 1, 1],
            }),
            30,
        ),
        (
            GuestMessage::Dirt(Dirt {
                video_output: 0,
                rectangles: RECTANGLES,
            }),
            42,
        ),
        (GuestMessage::BiosInfoRequest, 8),
        (GuestMessage::SupportedResolutionsRequest(64), 9),
        (GuestMessage::CapabilityRequest, 8),
    ]
}

const LIST: &[Resolution] = &[Resolution::new(1024, 768), Resolution::new(1920, 1080)];

fn with_host_messages(mut each: impl FnMut(HostMessage<'_>, usize)) {
    let edid = edid(1024, 768);
    let version = Version::new(3, 2);
    let acceptance = Acceptance::ACCEPTED_WITH_VERSION;
    let response = HostMessage::VersionResponse {
        version,
        acceptance,
        video_outputs: 1,
    };
    each(HostMessage::Error, 8);
    each(response, 14);
    each(
        HostMessage::VramLocationAck {
            user_context: 1 << 60,
        },
        16,
    );
    each(HostMessage::SituationUpdateAck { user_context: 3 }, 16);
    let features = Features::DIRT | Features::SITUATION;
    each(
        HostMessage::FeatureChange {
            features,
            edid: None,
        },
        12,
    );
    let edid = &edid;
    each(
        HostMessage::FeatureChange {
            features: Features::all(),
            edid: Some(edid),
        },
        140,
    );
    each(HostMessage::BiosInfoResponse { flags: 1 }, 24);
    let resolutions = Resolutions {
        edid,
        default_index: 1,
        is_standard: false,
        list: LIST,
    };
    each(
        HostMessage::SupportedResolutionsResponse(resolutions),
        139 + 8,
    );
    each(HostMessage::CapabilityResponse { flags: 0 }, 72);
}

#[test]
fn guest_messages_survive_and_have_their_sizes() {
    for (message, size) in guest_messages() {
        let mut bytes = emitted(&message);
        assert_eq!(bytes.len(), size, "{message:?}");
        assert_eq!(bytes[4..8], (size as u32).to_le_bytes());
        assert_eq!(GuestMessage::parse(&bytes), Ok(message));
        // The header's size is never looked at.
        bytes[4..8].fill(0xFF);
        assert_eq!(GuestMessage::parse(&bytes), Ok(message));
    }
}

#[test]
fn host_messages_survive_and_have_their_sizes() {
    with_host_messages(|message, size| {
        let bytes = emitted_by_host(&message);
        assert_eq!(bytes.len(), size, "{message:?}");
        assert_eq!(HostMessage::parse(&bytes), Ok(message));
    });
}

/// No shorter form of any message is taken for the message itself.
#[test]
fn short_messages_are_refused() {
    let whole = |bytes: &[u8]| GuestMessage::parse(bytes).ok().map(|m| emitted(&m));
    for (message, size) in guest_messages() {
        let bytes = emitted(&message);
        for length in 0..size {
            assert_ne!(whole(&bytes[..length]), Some(bytes.clone()), "{message:?}");
        }
        assert_eq!(
            GuestMessage::parse(&bytes[..7]),
            Err(MessageError::NoHeader { length: 7 })
        );
    }
    with_host_messages(|message, size| {
        let bytes = emitted_by_host(&message);
        for length in 0..size {
            assert_ne!(HostMessage::parse(&bytes[..length]), Ok(message));
        }
    });
    let feature_change = HostMessage::FeatureChange {
        features: Features::DIRT,
        edid: None,
    };
    assert_eq!(
        HostMessage::parse(&emitted_by_host(&feature_change)[..11]),
        Err(MessageError::Short {
            message_type: MessageType::FEATURE_CHANGE,
            length: 11,
            needed: 12
        })
    );
}

#[test]
fn each_end_refuses_its_own_messages() {
    for (message, _) in guest_messages().into_iter().skip(1) {
        assert!(matches!(
            HostMessage::parse(&emitted(&message)),
            Err(MessageError::UnknownType(_))
        ));
    }
    for code in [2u32, 4, 6, 9, 12, 14, 16, 17, 99, u32::MAX] {
        let mut bytes = code.to_le_bytes().to_vec();
        bytes.resize(200, 0);
        assert_eq!(
            GuestMessage::parse(&bytes),
            Err(MessageError::UnknownType(MessageType(code)))
        );
    }
}

#[test]
fn fault_72_dirt_that_counts_more_than_it_holds_is_refused() {
    let dirt = GuestMessage::Dirt(Dirt {
        video_output: 0,
        rectangles: &[Rectangle::EVERYTHING; 3],
    });
    let mut bytes = emitted(&dirt);
    bytes[9] = 255;
    assert_eq!(
        GuestMessage::parse(&bytes),
        Err(MessageError::OutOfRange {
            message_type: MessageType::DIRT,
            field: "dirt_count",
            value: 255,
            maximum: 3
        })
    );
    // Bytes beyond the count are nobody's.
    bytes[9] = 2;
    let Ok(GuestMessage::Dirt(dirt)) = GuestMessage::parse(&bytes) else {
        panic!("dirt is refused");
    };
    assert_eq!(dirt.rectangles.len(), 2);
    let many = [Rectangle::new(1, 1, 2, 2); 256];
    let dirt = GuestMessage::Dirt(Dirt {
        video_output: 0,
        rectangles: &many,
    });
    let bytes = emitted(&dirt);
    assert_eq!(
        GuestMessage::parse(&bytes),
        Ok(GuestMessage::Dirt(Dirt {
            video_output: 0,
            rectangles: &[Rectangle::EVERYTHING]
        }))
    );
}

// VG5, VG6
#[test]
fn fault_70_resolution_lists_that_lie_are_refused() {
    let edid = edid(1024, 768);
    let message = HostMessage::SupportedResolutionsResponse(Resolutions {
        edid: &edid,
        default_index: 0,
        is_standard: false,
        list: &[Resolution::new(800, 600); 64],
    });
    let bytes = emitted_by_host(&message);
    assert!(HostMessage::parse(&bytes).is_ok());
    let damaged = |count: u8, index: u8, length: usize| {
        let mut bytes = bytes.clone();
        bytes.resize(length, 0);
        bytes[136] = count;
        bytes[137] = index;
        HostMessage::parse(&bytes).is_ok()
    };
    assert!(!damaged(0, 0, 139));
    assert!(!damaged(65, 0, 139 + 65 * 4));
    assert!(!damaged(10, 10, 139 + 40));
    assert!(!damaged(10, 9, 139 + 36));
    assert!(!damaged(255, 0, 4096));
    assert!(damaged(10, 9, 139 + 40));
}

#[test]
fn versions_are_ordered_by_their_parts() {
    assert_eq!(Version::new(3, 5).0, 0x0005_0003);
    assert!(Version::new(3, 5) < Version::new(4, 0));
    assert!(ProtocolVersion::ALL.is_sorted());
    for version in ProtocolVersion::ALL {
        assert_eq!(ProtocolVersion::from_wire(version.wire()), Some(version));
    }
    for version in [
        Version::new(3, 1),
        Version::new(3, 6),
        Version(4),
        Version(0),
    ] {
        assert_eq!(ProtocolVersion::from_wire(version), None);
    }
}

proptest! {
    /// Whatever parses is emitted as bytes that parse to the same.
    #[test]
    fn any_bytes(kind in 0u32..18, body in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(&body);
        if let Ok(message) = GuestMessage::parse(&bytes) {
            let again = emitted(&message);
            prop_assert_eq!(GuestMessage::parse(&again), Ok(message));
        }
        if let Ok(message) = HostMessage::parse(&bytes) {
            let again = emitted_by_host(&message);
            prop_assert_eq!(HostMessage::parse(&again), Ok(message));
        }
        let _ = GuestMessage::parse(&body);
        let _ = HostMessage::parse(&body);
    }
}
