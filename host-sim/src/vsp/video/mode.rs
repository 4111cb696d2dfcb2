//! Which modes are sound.

use serde::Serialize;
use thiserror::Error;
use vsc_video::wire::{ProtocolVersion, Situation};

use crate::display::picture::PixelFormat;
use crate::display::rectangle::Rectangle;

/// Fewest pixels in a row.
pub(super) const MIN_WIDTH: u32 = 640;
/// Fewest rows.
pub(super) const MIN_HEIGHT: u32 = 480;
/// Most pixels in a row, and most rows.
pub(super) const MAX_EDGE: u32 = 8192;
/// Most pixels in a row, and most rows, in version 3.0.
const MAX_OLD: (u32, u32) = (1600, 1200);

/// Why a mode is refused; the one before stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ModeError {
    /// Not one screen.
    #[error("{0} screens instead of one")]
    Outputs(u8),
    /// The picture doesn't begin where video RAM does.
    #[error("offset {0:#x} in video RAM")]
    Offset(u32),
    /// Not the version's number of bits for each pixel.
    #[error("{found} bits for each pixel instead of {expected}")]
    Depth {
        /// Bits found.
        found: u8,
        /// Bits expected.
        expected: u8,
    },
    /// Too small or too large.
    #[error("picture of {width}x{height} pixels")]
    Size {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Rows overlap, or pixels don't begin on whole ones.
    #[error("{pitch} bytes from row to row, for {width} pixels")]
    Pitch {
        /// Bytes from one row to the next.
        pitch: u32,
        /// Pixels in a row.
        width: u32,
    },
    /// Video RAM doesn't hold the picture.
    #[error("picture of {bytes} bytes in {vram} bytes of video RAM")]
    Vram {
        /// Bytes needed.
        bytes: u64,
        /// Bytes that there are.
        vram: u64,
    },
}

/// A sound mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Mode {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from one row to the next.
    pub pitch: u32,
    /// Bits of each pixel: 16 or 32.
    pub depth_bits: u8,
}

impl Mode {
    /// Checks what the guest says, against the version and the bytes of video RAM.
    pub(super) fn check(
        situation: &Situation,
        version: ProtocolVersion,
        vram: u64,
    ) -> Result<Self, ModeError> {
        let (width, height, pitch) = (situation.width, situation.height, situation.pitch);
        if situation.video_output_count != 1 {
            return Err(ModeError::Outputs(situation.video_output_count));
        }
        if situation.vram_offset != 0 {
            return Err(ModeError::Offset(situation.vram_offset));
        }
        let expected = version.depth_bits();
        if situation.depth_bits != expected {
            let found = situation.depth_bits;
            return Err(ModeError::Depth { found, expected });
        }
        let (most_width, most_height) = match version {
            ProtocolVersion::V3_0 => MAX_OLD,
            _ => (MAX_EDGE, MAX_EDGE),
        };
        let is_sound = (MIN_WIDTH..=most_width).contains(&width)
            && (MIN_HEIGHT..=most_height).contains(&height);
        if !is_sound {
            return Err(ModeError::Size { width, height });
        }
        let pixel = u32::from(expected / 8);
        if pitch < width * pixel || !pitch.is_multiple_of(pixel) {
            return Err(ModeError::Pitch { pitch, width });
        }
        // The last row needs no more than its pixels.
        let bytes = u64::from(pitch) * u64::from(height - 1) + u64::from(width * pixel);
        if bytes > vram {
            return Err(ModeError::Vram { bytes, vram });
        }
        Ok(Self {
            width,
            height,
            pitch,
            depth_bits: expected,
        })
    }

    /// How its pixels lie.
    #[must_use]
    pub const fn format(&self) -> PixelFormat {
        match self.depth_bits {
            16 => PixelFormat::Rgb565,
            _ => PixelFormat::Xrgb8888,
        }
    }

    /// All of it.
    #[must_use]
    pub const fn rectangle(&self) -> Rectangle {
        Rectangle::sized(self.width, self.height)
    }
}

/// The part of a guest's rectangle that is within the mode; `None` if the rectangle is inverted.
pub(super) fn clamp(rectangle: &vsc_video::wire::Rectangle, mode: &Mode) -> Option<Rectangle> {
    let [left, top, right, bottom] = [
        rectangle.left.get(),
        rectangle.top.get(),
        rectangle.right.get(),
        rectangle.bottom.get(),
    ];
    if left > right || top > bottom {
        return None;
    }
    // Negative coordinates are outside, to the left or above.
    let within = |value: i32, most: u32| u32::try_from(value).unwrap_or(0).min(most);
    Some(Rectangle::new(
        within(left, mode.width),
        within(top, mode.height),
        within(right, mode.width),
        within(bottom, mode.height),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn situation(width: u32, height: u32, pitch: u32) -> Situation {
        Situation {
            user_context: 0,
            video_output_count: 1,
            active: 0,
            vram_offset: 0,
            depth_bits: 32,
            width,
            height,
            pitch,
        }
    }

    // VH5
    #[test]
    fn fault_71_modes_beyond_video_ram_are_refused() {
        let check = |width, height, pitch| {
            Mode::check(
                &situation(width, height, pitch),
                ProtocolVersion::V3_5,
                8 * MIB,
            )
        };
        assert!(check(1920, 1080, 7680).is_ok());
        assert!(check(1024, 2048, 4096).is_ok(), "fills it to the last byte");
        assert!(matches!(
            check(1024, 2049, 4096),
            Err(ModeError::Vram { .. })
        ));
        // The last row may lack the rest of its pitch.
        assert!(check(640, 1024, 8200).is_err());
        assert!(check(640, 1024, 8196).is_ok());
        for (width, height, pitch) in [
            (8192, 8192, u32::MAX - 3),
            (8192, 8192, 32768),
            (640, 8192, 1 << 31),
        ] {
            assert!(matches!(
                check(width, height, pitch),
                Err(ModeError::Vram { .. })
            ));
        }
    }

    #[test]
    fn fault_70_nonsense_sizes_are_refused() {
        let check =
            |situation: Situation| Mode::check(&situation, ProtocolVersion::V3_2, 256 * MIB);
        for (width, height) in [
            (0, 0),
            (639, 480),
            (640, 479),
            (8193, 480),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(
                check(situation(width, height, u32::MAX)),
                Err(ModeError::Size { width, height })
            );
        }
        let sound = situation(800, 600, 3200);
        assert!(check(sound).is_ok());
        for pitch in [0, 3199, 3201, 3202] {
            assert!(matches!(
                check(situation(800, 600, pitch)),
                Err(ModeError::Pitch { .. })
            ));
        }
        assert_eq!(
            check(Situation {
                video_output_count: 2,
                ..sound
            }),
            Err(ModeError::Outputs(2))
        );
        assert_eq!(
            check(Situation {
                vram_offset: 4096,
                ..sound
            }),
            Err(ModeError::Offset(4096))
        );
        for depth_bits in [0, 8, 16, 24, 255] {
            assert!(matches!(
                check(Situation {
                    depth_bits,
                    ..sound
                }),
                Err(ModeError::Depth { expected: 32, .. })
            ));
        }
    }

    #[test]
    fn version_3_0_has_16_bits_and_1600_by_1200() {
        let old = |width, height, depth_bits| {
            let situation = Situation {
                depth_bits,
                ..situation(width, height, width * 2)
            };
            Mode::check(&situation, ProtocolVersion::V3_0, 4 * MIB)
        };
        assert_eq!(old(1600, 1200, 16).unwrap().format(), PixelFormat::Rgb565);
        assert!(old(1602, 1200, 16).is_err());
        assert!(old(800, 600, 32).is_err());
    }

    // VH6
    #[test]
    fn fault_72_rectangles_are_cut_to_the_screen() {
        let mode = Mode::check(&situation(800, 600, 3200), ProtocolVersion::V3_5, 8 * MIB).unwrap();
        let cut = |l, t, r, b| clamp(&vsc_video::wire::Rectangle::new(l, t, r, b), &mode);
        assert_eq!(cut(0, 0, i32::MAX, i32::MAX), Some(mode.rectangle()));
        assert_eq!(cut(-5, -5, 10, 10), Some(Rectangle::new(0, 0, 10, 10)));
        assert_eq!(cut(10, 0, 9, 5), None);
        assert_eq!(cut(0, i32::MAX, 5, i32::MIN), None);
        assert!(cut(i32::MIN, i32::MIN, -1, -1).unwrap().is_empty());
        assert!(cut(900, 0, 1000, 10).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn accepted_modes_lie_in_video_ram(
            width in 0u32..9000, height in 0u32..9000, pitch in 0u32..70_000, vram in 1u64..257,
        ) {
            let situation = situation(width, height, pitch & !3);
            if let Ok(mode) = Mode::check(&situation, ProtocolVersion::V3_5, vram * MIB) {
                let last = u64::from(mode.height - 1) * u64::from(mode.pitch);
                prop_assert!(last + u64::from(mode.width) * 4 <= vram * MIB);
                prop_assert!(mode.width * 4 <= mode.pitch);
            }
        }

        #[test]
        fn any_rectangle_is_within(l: i32, t: i32, r: i32, b: i32) {
            let mode = Mode { width: 640, height: 480, pitch: 2560, depth_bits: 32 };
            if let Some(cut) = clamp(&vsc_video::wire::Rectangle::new(l, t, r, b), &mode) {
                prop_assert!(mode.rectangle().contains(&cut));
                prop_assert!(cut.left <= cut.right && cut.top <= cut.bottom);
            }
        }
    }
}
