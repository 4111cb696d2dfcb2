//! Messages as they lie in memory, header excluded.

use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::edid::EDID_SIZE;

macro_rules! layouts {
    ($($(#[$attribute:meta])* $visibility:vis $name:ident: $size:literal {
        $($(#[$field_attribute:meta])* $field_visibility:vis $field:ident: $type:ty,)*
    })*) => {
        $(
            $(#[$attribute])*
            #[derive(
                Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
            )]
            #[repr(C)]
            $visibility struct $name {
                $($(#[$field_attribute])* $field_visibility $field: $type,)*
            }
            const _: () = assert!(size_of::<$name>() == $size);
        )*
    };
}

layouts! {
    /// The first 8 bytes of every message.
    pub Header: 8 {
        /// What the message says; see [`MessageType`](super::MessageType).
        pub message_type: U32,
        /// Ambiguous between implementations: written as the length of header and body, never read.
        pub size: U32,
    }

    pub(super) VersionRequest: 4 {
        pub(super) version: U32,
    }

    pub(super) VersionResponse: 6 {
        pub(super) version: U32,
        pub(super) acceptance: u8,
        pub(super) video_outputs: u8,
    }

    pub(super) VramLocation: 17 {
        pub(super) user_context: U64,
        pub(super) is_specified: u8,
        pub(super) address: U64,
    }

    pub(super) Acknowledgement: 8 {
        pub(super) user_context: U64,
    }

    pub(super) Situation: 27 {
        pub(super) user_context: U64,
        pub(super) video_output_count: u8,
        pub(super) active: u8,
        pub(super) vram_offset: U32,
        pub(super) depth_bits: u8,
        pub(super) width: U32,
        pub(super) height: U32,
        pub(super) pitch: U32,
    }

    pub(super) PointerPosition: 10 {
        pub(super) is_visible: u8,
        pub(super) video_output: u8,
        pub(super) x: I32,
        pub(super) y: I32,
    }

    pub(super) PointerShape: 18 {
        pub(super) chunk: u8,
        pub(super) format: u8,
        pub(super) width: U32,
        pub(super) height: U32,
        pub(super) hot_x: U32,
        pub(super) hot_y: U32,
    }

    pub(super) FeatureChange: 4 {
        pub(super) is_dirt_needed: u8,
        pub(super) is_pointer_position_needed: u8,
        pub(super) is_pointer_shape_needed: u8,
        pub(super) is_situation_needed: u8,
    }

    pub(super) Dirt: 2 {
        pub(super) video_output: u8,
        pub(super) count: u8,
    }

    /// A rectangle of changed pixels, as the guest says it: nothing is promised about its values.
    pub Rectangle: 16 {
        /// First column.
        pub left: I32,
        /// First row.
        pub top: I32,
        /// Column after the last.
        pub right: I32,
        /// Row after the last.
        pub bottom: I32,
    }

    pub(super) BiosInfo: 16 {
        pub(super) flags: U32,
        pub(super) reserved: [u8; 12],
    }

    pub(super) ResolutionsRequest: 1 {
        pub(super) maximum: u8,
    }

    pub(super) ResolutionsHead: 131 {
        pub(super) edid: [u8; EDID_SIZE],
        pub(super) count: u8,
        pub(super) default_index: u8,
        pub(super) is_standard: u8,
    }

    /// A resolution in a list.
    pub Resolution: 4 {
        /// Pixels in a row.
        pub width: U16,
        /// Rows.
        pub height: U16,
    }

    pub(super) Capabilities: 64 {
        pub(super) flags: U32,
        pub(super) reserved: [U32; 15],
    }
}

impl Resolution {
    /// A resolution in pixels.
    #[must_use]
    pub const fn new(width: u16, height: u16) -> Self {
        Self {
            width: U16::new(width),
            height: U16::new(height),
        }
    }
}

impl Rectangle {
    /// A rectangle; `right` and `bottom` are the first column and row beyond it.
    #[must_use]
    pub const fn new(left: i32, top: i32, right: i32, bottom: i32) -> Self {
        Self {
            left: I32::new(left),
            top: I32::new(top),
            right: I32::new(right),
            bottom: I32::new(bottom),
        }
    }

    /// "Everything", as guests say it that don't keep track.
    pub const EVERYTHING: Self = Self::new(0, 0, i32::MAX, i32::MAX);
}
