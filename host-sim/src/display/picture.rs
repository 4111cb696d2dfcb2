//! Pixels in the guest's formats, and images of them.

/// How pixels lie in video RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// 16 bits, little-endian: red in the upper 5, green in 6, blue in the lower 5.
    Rgb565,
    /// 32 bits: blue, green, red, and a byte without meaning.
    Xrgb8888,
}

impl PixelFormat {
    /// Bytes of a pixel.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Rgb565 => 2,
            Self::Xrgb8888 => 4,
        }
    }

    /// Appends the pixels of a row as `0x00RRGGBB`. Bytes that make no whole pixel are dropped.
    pub fn decode(self, row: &[u8], into: &mut Vec<u32>) {
        match self {
            Self::Rgb565 => into.extend(row.as_chunks::<2>().0.iter().map(|pixel| {
                let pixel = u32::from(u16::from_le_bytes(*pixel));
                let (red, green, blue) = (pixel >> 11, pixel >> 5 & 0x3F, pixel & 0x1F);
                // The upper bits fill the lower ones, so that full intensity stays full.
                (red << 3 | red >> 2) << 16 | (green << 2 | green >> 4) << 8 | blue << 3 | blue >> 2
            })),
            Self::Xrgb8888 => into.extend(
                row.as_chunks::<4>()
                    .0
                    .iter()
                    .map(|pixel| u32::from_le_bytes(*pixel) & 0x00FF_FFFF),
            ),
        }
    }
}

/// An image: three bytes for each pixel, red, green, blue, row by row without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl RgbImage {
    /// An image of pixels `0x00RRGGBB`; those that are missing are black.
    #[must_use]
    pub fn new(width: u32, height: u32, pixels: &[u32]) -> Self {
        let bytes = width as usize * height as usize * 3;
        let mut image = Vec::with_capacity(bytes);
        for pixel in pixels {
            let [blue, green, red, _] = pixel.to_le_bytes();
            image.extend([red, green, blue]);
        }
        image.resize(bytes, 0);
        Self {
            width,
            height,
            pixels: image,
        }
    }

    /// Pixels in a row.
    #[must_use]
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.pixels
    }

    /// Red, green and blue at a place; `None` outside the image.
    #[must_use]
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        self.pixels.get(at..)?.first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_decoded() {
        let mut pixels = Vec::new();
        PixelFormat::Xrgb8888.decode(&[0x12, 0x34, 0x56, 0xFF, 1, 2, 3, 4, 9], &mut pixels);
        assert_eq!(pixels, [0x0056_3412, 0x0003_0201]);
        pixels.clear();
        let row: Vec<u8> = [0xFFFFu16, 0xF800, 0x07E0, 0x001F, 0, 0x8410]
            .iter()
            .flat_map(|pixel| pixel.to_le_bytes())
            .collect();
        PixelFormat::Rgb565.decode(&row, &mut pixels);
        assert_eq!(
            pixels,
            [
                0x00FF_FFFF,
                0x00FF_0000,
                0x0000_FF00,
                0x0000_00FF,
                0,
                0x0084_8284
            ]
        );
    }

    #[test]
    fn images_have_their_pixels() {
        let image = RgbImage::new(2, 2, &[0x0001_0203, 0x0004_0506, 0x0007_0809]);
        assert_eq!(image.as_bytes(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0]);
        assert_eq!(image.pixel(0, 1), Some([7, 8, 9]));
        assert_eq!(image.pixel(2, 0), None);
        assert_eq!(image.pixel(0, 2), None);
    }
}
