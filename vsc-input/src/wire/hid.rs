//! The HID device that the host's mouse is: an absolute pointer with five buttons and a wheel.

use zerocopy::little_endian::{I16, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Largest coordinate: the right or lower edge of the visible screen.
pub const MAX_COORDINATE: u16 = 32767;

/// The report descriptor of Hyper-V's mouse.
pub const REPORT_DESCRIPTOR: [u8; 67] = [
    0x05, 0x01, // usage page: generic desktop
    0x09, 0x02, // usage: mouse
    0xA1, 0x01, // collection: application
    0x09, 0x01, //   usage: pointer
    0xA1, 0x00, //   collection: physical
    0x05, 0x09, //     usage page: buttons
    0x19, 0x01, 0x29, 0x05, //     usages 1 to 5
    0x15, 0x00, 0x25, 0x01, //     logical 0 to 1
    0x95, 0x05, 0x75, 0x01, //     five of one bit
    0x81, 0x02, //     input: data, variable, absolute
    0x95, 0x01, 0x75, 0x03, //     one of three bits
    0x81, 0x01, //     input: constant
    0x05, 0x01, //     usage page: generic desktop
    0x09, 0x30, 0x09, 0x31, //     usages: X, Y
    0x15, 0x00, 0x26, 0xFF, 0x7F, //     logical 0 to 32767
    0x75, 0x10, 0x95, 0x02, //     two of 16 bits
    0x81, 0x02, //     input: data, variable, absolute
    0x05, 0x01, //     usage page: generic desktop
    0x09, 0x38, //     usage: wheel
    0x16, 0x01, 0x80, 0x26, 0xFF, 0x7F, //     logical -32767 to 32767
    0x75, 0x10, 0x95, 0x01, //     one of 16 bits
    0x81, 0x06, //     input: data, variable, relative
    0xC0, 0xC0, // end of both collections
];

/// An input report in the layout of [`REPORT_DESCRIPTOR`].
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct PointerReport {
    /// Bit 0 left, 1 right, 2 middle, 3 fourth, 4 fifth.
    pub buttons: u8,
    /// Column, 0 to [`MAX_COORDINATE`] over the whole visible screen.
    pub x: U16,
    /// Row, likewise.
    pub y: U16,
    /// Notches that the wheel was turned, away from the user.
    pub wheel: I16,
}

const _: () = assert!(size_of::<PointerReport>() == 7);

/// The coordinate of a pixel, of `size` pixels in that direction; beyond the last one it is that of the edge.
#[must_use]
pub fn coordinate(pixel: u32, size: u32) -> u16 {
    let last = u64::from(size.saturating_sub(1));
    let scaled = u64::from(pixel)
        .saturating_mul(u64::from(MAX_COORDINATE))
        .saturating_add(last / 2);
    match scaled.checked_div(last) {
        Some(value) => {
            u16::try_from(value).map_or(MAX_COORDINATE, |value| value.min(MAX_COORDINATE))
        }
        None => 0,
    }
}

/// The pixel at a coordinate, of `size` pixels in that direction; the last one for coordinates beyond the range.
#[must_use]
pub fn pixel(coordinate: u16, size: u32) -> u32 {
    let last = u64::from(size.saturating_sub(1));
    let scaled = u64::from(coordinate.min(MAX_COORDINATE))
        .saturating_mul(last)
        .saturating_add(u64::from(MAX_COORDINATE) / 2)
        / u64::from(MAX_COORDINATE);
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_descriptor_is_the_published_one() {
        assert_eq!(REPORT_DESCRIPTOR[12..16], [0x19, 0x01, 0x29, 0x05]);
        // Bits of all input items add up to the report.
        assert_eq!(5 + 3 + 2 * 16 + 16, 8 * size_of::<PointerReport>());
    }

    // MG5
    #[test]
    fn a_report_in_bytes() {
        let report = PointerReport::read_from_bytes(&[1, 0xFF, 0x7F, 0, 0, 1, 0]).unwrap();
        assert_eq!(
            (report.buttons, report.x.get(), report.y.get()),
            (1, 32767, 0)
        );
        assert_eq!(report.wheel.get(), 1);
    }

    #[test]
    fn edges_and_single_pixels() {
        assert_eq!(coordinate(0, 1024), 0);
        assert_eq!(coordinate(1023, 1024), MAX_COORDINATE);
        assert_eq!(coordinate(u32::MAX, 1024), MAX_COORDINATE);
        assert_eq!(coordinate(5, 1), 0);
        assert_eq!(coordinate(5, 0), 0);
        assert_eq!(pixel(u16::MAX, 1024), 1023);
        assert_eq!(pixel(7, 0), 0);
    }

    proptest! {
        #[test]
        fn pixels_survive(size in 2u32..8193, at in 0u32..8193) {
            let at = at % size;
            prop_assert_eq!(pixel(coordinate(at, size), size), at);
        }
    }
}
