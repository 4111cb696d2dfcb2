//! The identity of the screen that the host imitates.

/// Bytes of an EDID 1.4 block.
pub const EDID_SIZE: usize = 128;

/// Everything but detailed timing and checksum.
#[rustfmt::skip]
const IDENTITY: [u8; EDID_SIZE] = [
    // Header; manufacturer, product, serial, week and year 2011, version 1.4.
    0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00,
    0x36, 0x68, 0x2E, 0x06, 0x00, 0x00, 0x00, 0x00, 0xFF, 0x15, 0x01, 0x04,
    // Digital, size unknown, gamma 2.2, features; chromaticity.
    0x80, 0x00, 0x00, 0x78, 0x22,
    0xEE, 0x95, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54,
    // No established timings, eight unused standard timings.
    0x00, 0x00, 0x00,
    0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01,
    // The detailed timing.
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    // The name.
    0, 0, 0, 0xFC, 0, b'H', b'y', b'p', b'e', b'r', b'V', b'M', b'o', b'n', b'i', b't', b'o', b'r',
    // Two descriptors without a meaning.
    0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    // No extensions, checksum.
    0, 0,
];

/// First byte of the detailed timing.
const TIMING: usize = 54;
/// The timing of 1024 by 768 that hosts have always given.
const TIMING_1024_768: [u8; 18] = [
    0x6C, 0x20, 0x00, 0x30, 0x42, 0x00, 0x32, 0x30, 0x40, 0xC0, 0x13, 0, 0, 0, 0, 0, 0, 0x1E,
];

/// The EDID of a screen whose preferred mode is `width` by `height` pixels.
///
/// A timing has twelve bits for each size: for a mode beyond 4095 pixels (or of 0) the block says 1024 by 768.
#[must_use]
pub fn edid(width: u16, height: u16) -> [u8; EDID_SIZE] {
    let mut block = IDENTITY;
    let timing = match (width, height) {
        (1024, 768) => TIMING_1024_768,
        (1..=4095, 1..=4095) => reduced_blanking(width, height),
        _ => TIMING_1024_768,
    };
    for (to, from) in block.iter_mut().skip(TIMING).zip(timing) {
        *to = from;
    }
    let sum = block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(checksum) = block.last_mut() {
        *checksum = sum.wrapping_neg();
    }
    block
}

/// A timing in the manner of VESA's reduced blanking, at 60 Hz or the fastest that the field can hold.
fn reduced_blanking(width: u16, height: u16) -> [u8; 18] {
    let (horizontal_blank, vertical_blank) = (160u16, (height / 25).clamp(23, 400));
    let (width, height) = (u32::from(width), u32::from(height));
    let total = (width + u32::from(horizontal_blank)) * (height + u32::from(vertical_blank));
    // 10 kHz units; below 4255 · 4495 · 60 Hz, so no overflow.
    let clock = u16::try_from((total * 60).div_ceil(10_000)).unwrap_or(u16::MAX);
    let [clock_low, clock_high] = clock.to_le_bytes();
    let split = |value: u32| (value as u8, (value >> 8) as u8);
    let (width_low, width_high) = split(width);
    let (height_low, height_high) = split(height);
    let (horizontal_low, horizontal_high) = split(u32::from(horizontal_blank));
    let (vertical_low, vertical_high) = split(u32::from(vertical_blank));
    // Sync: 48 pixels after the picture for 32 pixels, 3 rows after it for 6 rows.
    [
        clock_low,
        clock_high,
        width_low,
        horizontal_low,
        width_high << 4 | horizontal_high,
        height_low,
        vertical_low,
        height_high << 4 | vertical_high,
        48,
        32,
        3 << 4 | 6,
        0,
        0,
        0,
        0,
        0,
        0,
        0x1E,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_block() {
        let block = edid(1024, 768);
        assert_eq!(block[127], 0xC6);
        assert_eq!(
            &block[..10],
            [0, 255, 255, 255, 255, 255, 255, 0, 0x36, 0x68]
        );
        assert_eq!(&block[72..90], b"\0\0\0\xFC\0HyperVMonitor");
        assert_eq!(block[126], 0);
    }

    #[test]
    fn every_block_has_its_mode_and_a_sound_checksum() {
        for (width, height) in [(1, 1), (640, 480), (1024, 768), (1920, 1080), (4095, 4095)] {
            let block = edid(width, height);
            assert_eq!(
                block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)),
                0
            );
            let timing = &block[TIMING..];
            let active = |low: u8, high: u8| u16::from(low) | u16::from(high >> 4) << 8;
            assert_eq!(active(timing[2], timing[4]), width);
            assert_eq!(active(timing[5], timing[7]), height);
            assert_ne!((timing[0], timing[1]), (0, 0), "a clock of 0 is no timing");
        }
        assert_eq!(edid(0, 768), edid(1024, 768));
        assert_eq!(edid(u16::MAX, 4096), edid(1024, 768));
    }
}
