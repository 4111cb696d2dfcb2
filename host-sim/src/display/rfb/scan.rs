//! What has changed, for guests that don't tell: firmware, and drivers that nobody has asked yet.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use crate::display::rectangle::Rectangle;
use crate::display::screen::{NoPicture, Screen};

/// Edge of the squares that are compared.
const SQUARE: u32 = 64;

/// Compares a screen with what it was.
#[derive(Debug, Default)]
pub(super) struct Scan {
    size: (u32, u32),
    hashes: Vec<u64>,
    pixels: Vec<u32>,
}

impl Scan {
    /// The squares that differ from the last look; all of them at the first one and after a change of size.
    pub(super) fn changes(&mut self, screen: &dyn Screen) -> Result<Vec<Rectangle>, NoPicture> {
        let size = screen.state().size.ok_or(NoPicture)?;
        let mut changes = Vec::new();
        let mut hashes = Vec::new();
        // With fixed keys: equal pixels have equal hashes. A guest that makes others collide cheats itself.
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        for top in (0..size.1).step_by(SQUARE as usize) {
            let band = Rectangle::new(0, top, size.0, (top + SQUARE).min(size.1));
            screen.read(band, &mut self.pixels)?;
            for left in (0..size.0).step_by(SQUARE as usize) {
                let right = (left + SQUARE).min(size.0);
                let rows = self.pixels.chunks(size.0 as usize);
                let hash = rows.fold(0, |hash, row| {
                    hasher.hash_one((hash, &row[left as usize..right as usize]))
                });
                if self.size != size || self.hashes.get(hashes.len()) != Some(&hash) {
                    changes.push(Rectangle::new(left, band.top, right, band.bottom));
                }
                hashes.push(hash);
            }
        }
        self.size = size;
        self.hashes = hashes;
        Ok(changes)
    }
}
