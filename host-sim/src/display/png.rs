//! Images as PNG files.

use std::io::{self, Write};

use super::picture::RgbImage;

/// Writes an image as a PNG file: 8 bits for each of red, green, blue.
///
/// # Errors
/// The image has no pixels, or `to` fails.
pub fn write(image: &RgbImage, to: impl Write) -> io::Result<()> {
    let mut encoder = ::png::Encoder::new(to, image.width(), image.height());
    encoder.set_color(::png::ColorType::Rgb);
    encoder.set_depth(::png::BitDepth::Eight);
    encoder.set_compression(::png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(into_io)?;
    writer.write_image_data(image.as_bytes()).map_err(into_io)?;
    writer.finish().map_err(into_io)
}

/// An image as the bytes of a PNG file.
///
/// # Errors
/// The image has no pixels.
pub fn encode(image: &RgbImage) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write(image, &mut bytes)?;
    Ok(bytes)
}

fn into_io(error: ::png::EncodingError) -> io::Error {
    match error {
        ::png::EncodingError::IoError(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidInput, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let pixels: Vec<u32> = (0..35 * 17u32).map(|at| at * 0x0001_0307).collect();
        let image = RgbImage::new(35, 17, &pixels);
        let file = encode(&image).unwrap();
        let mut reader = ::png::Decoder::new(io::Cursor::new(&file))
            .read_info()
            .unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!((info.width, info.height), (35, 17));
        assert_eq!(bytes, image.as_bytes());
    }

    #[test]
    fn an_empty_image_is_refused() {
        assert!(encode(&RgbImage::new(0, 3, &[])).is_err());
    }
}
