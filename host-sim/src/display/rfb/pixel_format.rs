//! Pixels as a client wants them.

use super::message::RfbError;

/// One of the three colours: its largest value, and by how much it is shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Channel {
    max: u16,
    shift: u8,
}

impl Channel {
    /// The bits of an intensity of 0 to 255.
    fn bits(self, intensity: u32) -> u32 {
        ((intensity * u32::from(self.max) + 127) / 255) << self.shift
    }
}

/// A format of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PixelFormat {
    bits: u8,
    depth: u8,
    big_endian: bool,
    /// Pixels are indices into a colour map, which we set to all colours of 3, 3 and 2 bits.
    is_mapped: bool,
    red: Channel,
    green: Channel,
    blue: Channel,
}

const fn channel(max: u16, shift: u8) -> Channel {
    Channel { max, shift }
}

impl PixelFormat {
    /// What we have: 32 bits, blue first.
    pub(super) const NATIVE: Self = Self {
        bits: 32,
        depth: 24,
        big_endian: false,
        is_mapped: false,
        red: channel(255, 16),
        green: channel(255, 8),
        blue: channel(255, 0),
    };

    /// A format from its 16 bytes, of which three are padding.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, RfbError> {
        let Some(&bytes) = bytes.first_chunk::<16>() else {
            return Err(RfbError::PixelFormat("incomplete"));
        };
        let [bits, depth, big_endian, true_colour, ..] = bytes;
        if !matches!(bits, 8 | 16 | 32) {
            return Err(RfbError::PixelFormat("pixels of neither 8, 16 nor 32 bits"));
        }
        let is_mapped = true_colour == 0;
        if is_mapped && bits != 8 {
            return Err(RfbError::PixelFormat("a colour map for more than 8 bits"));
        }
        let read = |at: usize, shift: usize| {
            let max = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            channel(max, bytes[shift])
        };
        let (red, green, blue) = if is_mapped {
            (channel(7, 5), channel(7, 2), channel(3, 0))
        } else {
            (read(4, 10), read(6, 11), read(8, 12))
        };
        for Channel { max, shift } in [red, green, blue] {
            if max == 0 || !(u32::from(max) + 1).is_power_of_two() {
                return Err(RfbError::PixelFormat(
                    "a largest value that is not all ones",
                ));
            }
            if u32::from(shift) + max.count_ones() > u32::from(bits) {
                return Err(RfbError::PixelFormat("a colour beyond its pixel"));
            }
        }
        Ok(Self {
            bits,
            depth,
            big_endian: big_endian != 0,
            is_mapped,
            red,
            green,
            blue,
        })
    }

    /// The format's 16 bytes.
    pub(super) fn emit(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[
            self.bits,
            self.depth,
            u8::from(self.big_endian),
            u8::from(!self.is_mapped),
        ]);
        for (at, channel) in [self.red, self.green, self.blue].into_iter().enumerate() {
            bytes[4 + at * 2..6 + at * 2].copy_from_slice(&channel.max.to_be_bytes());
            bytes[10 + at] = channel.shift;
        }
        bytes
    }

    /// The message that sets the colour map, if the format has one.
    pub(super) fn colour_map(&self) -> Option<Vec<u8>> {
        if !self.is_mapped {
            return None;
        }
        // First colour 0, 256 colours.
        let mut message = vec![1, 0, 0, 0, 1, 0];
        for index in 0..256u32 {
            let spread = |value: u32, max: u32| (value * 0xFFFF / max) as u16;
            for intensity in [
                spread(index >> 5, 7),
                spread(index >> 2 & 7, 7),
                spread(index & 3, 3),
            ] {
                message.extend(intensity.to_be_bytes());
            }
        }
        Some(message)
    }

    /// Bytes of a pixel.
    pub(super) const fn bytes(&self) -> usize {
        self.bits as usize / 8
    }

    /// A pixel `0x00RRGGBB` in this format, as a number.
    pub(super) fn convert(&self, pixel: u32) -> u32 {
        if *self == Self::NATIVE {
            return pixel;
        }
        let [blue, green, red, _] = pixel.to_le_bytes().map(u32::from);
        self.red.bits(red) | self.green.bits(green) | self.blue.bits(blue)
    }

    /// Appends a pixel that is [converted](Self::convert).
    pub(super) fn put(&self, value: u32, into: &mut Vec<u8>) {
        let little = value.to_le_bytes();
        match (self.bits, self.big_endian) {
            (8, _) => into.push(little[0]),
            (16, false) => into.extend_from_slice(&little[..2]),
            (16, true) => into.extend_from_slice(&[little[1], little[0]]),
            (_, false) => into.extend_from_slice(&little),
            (_, true) => into.extend_from_slice(&value.to_be_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(format: &PixelFormat, pixel: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        format.put(format.convert(pixel), &mut bytes);
        bytes
    }

    #[test]
    fn formats_survive_and_convert() {
        let native = PixelFormat::NATIVE;
        assert_eq!(PixelFormat::parse(&native.emit()), Ok(native));
        assert_eq!(put(&native, 0x0012_3456), [0x56, 0x34, 0x12, 0]);
        let mut bytes = native.emit();
        bytes[2] = 1;
        let big = PixelFormat::parse(&bytes).unwrap();
        assert_eq!(put(&big, 0x0012_3456), [0, 0x12, 0x34, 0x56]);
        let rgb565 = [16, 16, 0, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0];
        let rgb565 = PixelFormat::parse(&rgb565).unwrap();
        assert_eq!(put(&rgb565, 0x00FF_FFFF), [0xFF, 0xFF]);
        assert_eq!(put(&rgb565, 0x00FF_0000), [0x00, 0xF8]);
        assert_eq!(rgb565.colour_map(), None);
        let bgr233 = [8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0];
        let bgr233 = PixelFormat::parse(&bgr233).unwrap();
        assert_eq!(put(&bgr233, 0x0000_00FF), [0xC0]);
    }

    #[test]
    fn colour_maps_hold_what_their_indices_mean() {
        let mapped = [8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mapped = PixelFormat::parse(&mapped).unwrap();
        let map = mapped.colour_map().unwrap();
        assert_eq!(map.len(), 6 + 256 * 6);
        for (pixel, intensities) in [
            (0x00FF_FFFF, [0xFF; 6]),
            (0, [0; 6]),
            (0x00FF_0000, [0xFF, 0xFF, 0, 0, 0, 0]),
        ] {
            let index = usize::from(put(&mapped, pixel)[0]);
            assert_eq!(map[6 + index * 6..][..6], intensities);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let native = PixelFormat::NATIVE.emit();
        for (at, value) in [
            (0, 24),
            (0, 0),
            (3, 0),
            (5, 254),
            (5, 0),
            (10, 25),
            (12, 255),
        ] {
            let mut bytes = native;
            bytes[at] = value;
            assert!(PixelFormat::parse(&bytes).is_err(), "byte {at}: {value}");
        }
        assert!(PixelFormat::parse(&native[..15]).is_err());
    }
}
