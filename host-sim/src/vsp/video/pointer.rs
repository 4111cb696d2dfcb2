//! Shapes of the pointer, which come in pieces.

use thiserror::Error;
use vsc_video::wire::{
    LAST_POINTER_CHUNK, MAX_POINTER_CHUNK, MAX_POINTER_EDGE, PointerFormat, PointerShape as Chunk,
};

use crate::display::screen::PointerShape;

/// Why a piece of a shape is refused; the shape before stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PointerError {
    /// Of no size, or larger than 96 by 96.
    #[error("pointer of {width}x{height} pixels")]
    Size {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The pixel that points is not in the shape.
    #[error("pointer's hot spot at {x},{y} outside of {width}x{height} pixels")]
    HotSpot {
        /// Its column.
        x: u32,
        /// Its row.
        y: u32,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// A layout of pixels that is not known.
    #[error("pointer of unknown format {0}")]
    Format(u8),
    /// More data than a message may have.
    #[error("{0} bytes of pointer data in one message")]
    Chunk(usize),
    /// Pieces are missing or in the wrong order, or belong to different shapes.
    #[error("piece {found} of a pointer instead of piece {expected}")]
    Order {
        /// Number found.
        found: u8,
        /// Number expected.
        expected: u8,
    },
    /// The pieces together are too short or too long.
    #[error("{found} bytes of pointer data instead of {expected}")]
    Length {
        /// Bytes of all pieces.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
}

/// A shape, all pieces of which so far were in order.
#[derive(Debug)]
struct Partial {
    geometry: (u32, u32, u32, u32, PointerFormat),
    next: u8,
    data: Vec<u8>,
}

/// Puts shapes together.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    partial: Option<Partial>,
}

impl Assembler {
    /// Takes a piece; the whole shape when it was the last one.
    pub(super) fn push(&mut self, chunk: &Chunk<'_>) -> Result<Option<PointerShape>, PointerError> {
        // Whatever is wrong, the shape that was being put together is discarded.
        let partial = self.partial.take();
        let (width, height) = (chunk.width, chunk.height);
        if !(1..=MAX_POINTER_EDGE).contains(&width) || !(1..=MAX_POINTER_EDGE).contains(&height) {
            return Err(PointerError::Size { width, height });
        }
        if chunk.hot_x >= width || chunk.hot_y >= height {
            return Err(PointerError::HotSpot {
                x: chunk.hot_x,
                y: chunk.hot_y,
                width,
                height,
            });
        }
        let expected = match chunk.format {
            PointerFormat::ARGB => width * height * 4,
            PointerFormat::MONOCHROME => width.div_ceil(8) * height * 2,
            PointerFormat(other) => return Err(PointerError::Format(other)),
        } as usize;
        let is_last = chunk.chunk == LAST_POINTER_CHUNK;
        let geometry = (width, height, chunk.hot_x, chunk.hot_y, chunk.format);
        let mut partial = match partial {
            Some(partial) if chunk.chunk == partial.next || is_last => partial,
            _ if chunk.chunk == 0 || is_last => Partial {
                geometry,
                next: 0,
                data: Vec::new(),
            },
            partial => {
                return Err(PointerError::Order {
                    found: chunk.chunk,
                    expected: partial.map_or(0, |partial| partial.next),
                });
            }
        };
        if partial.geometry != geometry {
            return Err(PointerError::Order {
                found: chunk.chunk,
                expected: 0,
            });
        }
        let data = chunk.data;
        if data.len() > MAX_POINTER_CHUNK {
            return Err(PointerError::Chunk(data.len()));
        }
        partial.data.extend_from_slice(data);
        let found = partial.data.len();
        if found > expected || (is_last && found < expected) {
            return Err(PointerError::Length { found, expected });
        }
        if is_last {
            return Ok(Some(PointerShape {
                width,
                height,
                hot_x: chunk.hot_x,
                hot_y: chunk.hot_y,
                pixels: decode(&partial.data, width, chunk.format),
            }));
        }
        partial.next += 1;
        self.partial = Some(partial);
        Ok(None)
    }
}

/// Pixels as `0xAARRGGBB`.
fn decode(data: &[u8], width: u32, format: PointerFormat) -> Vec<u32> {
    if format == PointerFormat::ARGB {
        let pixels = data.as_chunks::<4>().0.iter();
        return pixels.map(|pixel| u32::from_le_bytes(*pixel)).collect();
    }
    let row = width.div_ceil(8) as usize;
    let (and, xor) = data.split_at(data.len() / 2);
    let bit = |row: &[u8], x: u32| row[(x / 8) as usize] & 0x80 >> (x % 8) != 0;
    let rows = and.chunks_exact(row).zip(xor.chunks_exact(row));
    rows.flat_map(|(and, xor)| {
        (0..width).map(move |x| match (bit(and, x), bit(xor, x)) {
            (false, false) => 0xFF00_0000,
            (false, true) => 0xFFFF_FFFF,
            (true, false) => 0,
            // What is below, inverted: nothing that a shape of its own can show. Black is seen most often.
            (true, true) => 0xFF00_0000,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(number: u8, edge: u32, data: &[u8]) -> Chunk<'_> {
        Chunk {
            chunk: number,
            format: PointerFormat::ARGB,
            width: edge,
            height: edge,
            hot_x: 0,
            hot_y: 0,
            data,
        }
    }

    // VH7
    #[test]
    fn pieces_make_a_shape() {
        let data: Vec<u8> = (0..96 * 96 * 4).map(|at| (at * 7) as u8).collect();
        let mut assembler = Assembler::default();
        let pieces: Vec<_> = data.chunks(8192).collect();
        assert_eq!(pieces.len(), 5);
        for (number, piece) in pieces[..4].iter().enumerate() {
            assert_eq!(assembler.push(&chunk(number as u8, 96, piece)), Ok(None));
        }
        let shape = assembler
            .push(&chunk(0xFF, 96, pieces[4]))
            .unwrap()
            .unwrap();
        assert_eq!(shape.pixels.len(), 96 * 96);
        assert_eq!(
            shape.pixels[1],
            u32::from_le_bytes(data[4..8].try_into().unwrap())
        );
        assert!(!shape.is_blank());
    }

    #[test]
    fn the_invisible_pointer_of_guests_is_blank() {
        let mut assembler = Assembler::default();
        let shape = assembler
            .push(&chunk(0xFF, 1, &[0, 1, 1, 1]))
            .unwrap()
            .unwrap();
        assert!(shape.is_blank());
        let shape = assembler
            .push(&chunk(0xFF, 1, &[0, 0, 0, 255]))
            .unwrap()
            .unwrap();
        assert!(!shape.is_blank());
    }

    #[test]
    fn two_planes_are_decoded() {
        let mut assembler = Assembler::default();
        let planes = Chunk {
            format: PointerFormat::MONOCHROME,
            width: 9,
            height: 1,
            ..chunk(0xFF, 1, &[0b0011_0000, 0x80, 0b0101_0000, 0])
        };
        let shape = assembler.push(&planes).unwrap().unwrap();
        assert_eq!(
            shape.pixels,
            [
                0xFF00_0000,
                0xFFFF_FFFF,
                0,
                0xFF00_0000,
                0xFF00_0000,
                0xFF00_0000,
                0xFF00_0000,
                0xFF00_0000,
                0
            ]
        );
    }

    #[test]
    fn fault_73_shapes_that_lie_are_refused_and_forgotten() {
        let piece = [1; 8192];
        let mut assembler = Assembler::default();
        let order = |found, expected| Err(PointerError::Order { found, expected });
        assert_eq!(assembler.push(&chunk(2, 96, &piece)), order(2, 0));
        assert_eq!(assembler.push(&chunk(0, 96, &piece)), Ok(None));
        assert_eq!(assembler.push(&chunk(2, 96, &piece)), order(2, 1));
        // The partial shape is gone.
        assert!(matches!(
            assembler.push(&chunk(0xFF, 96, &piece)),
            Err(PointerError::Length { found: 8192, .. })
        ));
        assert_eq!(assembler.push(&chunk(0, 96, &piece)), Ok(None));
        assert!(
            assembler.push(&chunk(1, 95, &piece)).is_err(),
            "another shape's"
        );
        for edge in [0, 97, u32::MAX] {
            let error = PointerError::Size {
                width: edge,
                height: edge,
            };
            assert_eq!(assembler.push(&chunk(0xFF, edge, &piece)), Err(error));
        }
        assert_eq!(
            assembler.push(&chunk(0xFF, 96, &[0; 8193])),
            Err(PointerError::Chunk(8193))
        );
        assert!(matches!(
            assembler.push(&chunk(0xFF, 2, &[0; 17])),
            Err(PointerError::Length { expected: 16, .. })
        ));
        let hot = Chunk {
            hot_x: 2,
            ..chunk(0xFF, 2, &[0; 16])
        };
        assert!(matches!(
            assembler.push(&hot),
            Err(PointerError::HotSpot { .. })
        ));
        let format = Chunk {
            format: PointerFormat(7),
            ..chunk(0xFF, 2, &[0; 16])
        };
        assert_eq!(assembler.push(&format), Err(PointerError::Format(7)));
        // Pieces without data never end; they hold no memory either.
        for number in 0..0xFF {
            assert_eq!(assembler.push(&chunk(number, 96, &[])), Ok(None));
        }
        assert!(assembler.push(&chunk(0xFF, 96, &[])).is_err());
    }
}
