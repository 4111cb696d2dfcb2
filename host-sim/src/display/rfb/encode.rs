//! Rectangles as a client wants them.

use super::message::{CURSOR, DESKTOP_SIZE, HEXTILE, RAW};
use super::pixel_format::PixelFormat;
use crate::display::rectangle::Rectangle;
use crate::display::screen::PointerShape;

/// Edge of a tile.
const TILE: u32 = 16;

/// Bits of a tile's first byte.
mod tile {
    pub(super) const RAW: u8 = 1;
    pub(super) const BACKGROUND: u8 = 1 << 1;
    pub(super) const FOREGROUND: u8 = 1 << 2;
    pub(super) const ANY_SUBRECTANGLES: u8 = 1 << 3;
    pub(super) const COLOURED: u8 = 1 << 4;
}

/// An update that is being put together.
pub(super) struct Update<'a> {
    format: &'a PixelFormat,
    bytes: Vec<u8>,
    count: u16,
}

impl<'a> Update<'a> {
    pub(super) fn new(format: &'a PixelFormat) -> Self {
        Self {
            format,
            // Type, padding, and the number of rectangles.
            bytes: vec![0; 4],
            count: 0,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The message.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes[2..4].copy_from_slice(&self.count.to_be_bytes());
        self.bytes
    }

    /// Coordinates of a screen are below 65,536.
    fn head(&mut self, x: u32, y: u32, width: u32, height: u32, encoding: i32) {
        for value in [x, y, width, height] {
            self.bytes.extend((value as u16).to_be_bytes());
        }
        self.bytes.extend(encoding.to_be_bytes());
        self.count += 1;
    }

    /// The screen has a new size.
    pub(super) fn desktop_size(&mut self, (width, height): (u32, u32)) {
        self.head(0, 0, width, height, DESKTOP_SIZE);
    }

    /// The pointer has a new shape; none at all if `None`.
    pub(super) fn cursor(&mut self, shape: Option<&PointerShape>) {
        let Some(shape) = shape else {
            self.head(0, 0, 0, 0, CURSOR);
            return;
        };
        let (width, height) = (shape.width, shape.height);
        self.head(shape.hot_x, shape.hot_y, width, height, CURSOR);
        for pixel in &shape.pixels {
            let value = self.format.convert(pixel & 0x00FF_FFFF);
            self.format.put(value, &mut self.bytes);
        }
        // One bit for each pixel, rows padded to bytes.
        for row in shape.pixels.chunks(width.max(1) as usize) {
            for eight in row.chunks(8) {
                let is_solid = |pixel: &u32| u8::from(pixel >> 24 >= 0x80);
                let bits = eight
                    .iter()
                    .enumerate()
                    .fold(0, |bits, (at, pixel)| bits | is_solid(pixel) << (7 - at));
                self.bytes.push(bits);
            }
        }
    }

    /// A rectangle and its pixels, row by row, as `0x00RRGGBB`.
    pub(super) fn pixels(&mut self, rectangle: Rectangle, pixels: &[u32], hextile: bool) {
        let (width, height) = (rectangle.width(), rectangle.height());
        let encoding = if hextile { HEXTILE } else { RAW };
        self.head(rectangle.left, rectangle.top, width, height, encoding);
        let values: Vec<u32> = pixels
            .iter()
            .map(|pixel| self.format.convert(*pixel))
            .collect();
        if !hextile {
            self.bytes.reserve(values.len() * self.format.bytes());
            for value in values {
                self.format.put(value, &mut self.bytes);
            }
            return;
        }
        let mut carried = Carried::default();
        for top in (0..height).step_by(TILE as usize) {
            for left in (0..width).step_by(TILE as usize) {
                let tile = Tile::cut(&values, width, left, top, height);
                tile.encode(self.format, &mut carried, &mut self.bytes);
            }
        }
    }
}

/// Colours that hold for the next tile if it doesn't say otherwise.
#[derive(Default)]
struct Carried {
    background: Option<u32>,
    foreground: Option<u32>,
}

/// Up to 16 by 16 pixels.
struct Tile {
    width: usize,
    height: usize,
    values: Vec<u32>,
}

impl Tile {
    fn cut(values: &[u32], stride: u32, left: u32, top: u32, bottom: u32) -> Self {
        let (width, height) = (TILE.min(stride - left), TILE.min(bottom - top));
        let rows = (top..top + height).flat_map(|y| {
            let start = y as usize * stride as usize + left as usize;
            &values[start..start + width as usize]
        });
        Self {
            width: width as usize,
            height: height as usize,
            values: rows.copied().collect(),
        }
    }

    /// The colour that most pixels have, and the other one if there are exactly two.
    fn colours(&self) -> (u32, Option<u32>, bool) {
        let mut sorted = self.values.clone();
        sorted.sort_unstable();
        let mut best = (0, 0);
        let mut distinct = Vec::new();
        for run in sorted.chunk_by(|one, other| one == other) {
            distinct.push(run[0]);
            if run.len() > best.0 {
                best = (run.len(), run[0]);
            }
        }
        let other = distinct.iter().copied().find(|value| *value != best.1);
        (best.1, other, distinct.len() > 2)
    }

    /// Rectangles that are not of the background's colour: colour, position, size.
    fn subrectangles(&self, background: u32) -> Vec<(u32, u8, u8)> {
        let mut done = vec![false; self.values.len()];
        let mut list = Vec::new();
        for y in 0..self.height {
            for x in 0..self.width {
                let at = y * self.width + x;
                let value = self.values[at];
                if done[at] || value == background {
                    continue;
                }
                let fits = |at: usize| self.values[at] == value && !done[at];
                let width = (x..self.width)
                    .take_while(|x| fits(y * self.width + x))
                    .count();
                let height = (y..self.height)
                    .take_while(|y| (x..x + width).all(|x| fits(y * self.width + x)))
                    .count();
                for y in y..y + height {
                    done[y * self.width + x..][..width].fill(true);
                }
                // All are below 16.
                let nibbles = |high: usize, low: usize| (high << 4 | low) as u8;
                list.push((value, nibbles(x, y), nibbles(width - 1, height - 1)));
            }
        }
        list
    }

    fn encode(&self, format: &PixelFormat, carried: &mut Carried, into: &mut Vec<u8>) {
        let (background, foreground, is_coloured) = self.colours();
        let subrectangles = self.subrectangles(background);
        let raw = self.values.len() * format.bytes();
        let each = if is_coloured { 2 + format.bytes() } else { 2 };
        let size = 1 + 2 * format.bytes() + subrectangles.len() * each;
        if size > raw || subrectangles.len() > 255 {
            into.push(tile::RAW);
            for value in &self.values {
                format.put(*value, into);
            }
            // After a raw tile colours have to be given again.
            *carried = Carried::default();
            return;
        }
        let start = into.len();
        into.push(0);
        let mut flags = 0;
        if carried.background != Some(background) {
            flags |= tile::BACKGROUND;
            format.put(background, into);
            carried.background = Some(background);
        }
        if let Some(foreground) = foreground {
            flags |= tile::ANY_SUBRECTANGLES;
            if is_coloured {
                flags |= tile::COLOURED;
                carried.foreground = None;
            } else if carried.foreground != Some(foreground) {
                flags |= tile::FOREGROUND;
                format.put(foreground, into);
                carried.foreground = Some(foreground);
            }
            // At most 255.
            into.push(subrectangles.len() as u8);
            for (value, position, size) in subrectangles {
                if is_coloured {
                    format.put(value, into);
                }
                into.extend([position, size]);
            }
        }
        into[start] = flags;
    }
}
