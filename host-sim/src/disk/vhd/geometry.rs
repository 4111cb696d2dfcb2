//! Cylinders, heads and sectors, which old BIOS-based readers want to know.

/// Disk geometry as the footer stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads per cylinder.
    pub heads: u8,
    /// 512-byte sectors per track.
    pub sectors_per_track: u8,
}

/// Sectors of the largest geometry, some 127.5 GiB.
const LARGEST: u64 = 65_535 * 16 * 255;

impl Geometry {
    /// The geometry that the VHD format prescribes for a disk of `sectors` 512-byte sectors.
    ///
    /// It often addresses a little less than the disk: the disk's size is another field.
    #[must_use]
    pub fn for_sectors(sectors: u64) -> Self {
        let total = sectors.min(LARGEST);
        let (heads, sectors_per_track);
        if total >= 65_535 * 16 * 63 {
            (heads, sectors_per_track) = (16, 255);
        } else {
            let tracks = total / 17;
            let wanted = tracks.div_ceil(1024).max(4);
            if wanted <= 16 && tracks < wanted * 1024 {
                (heads, sectors_per_track) = (wanted, 17);
            } else if total / 31 < 16 * 1024 {
                (heads, sectors_per_track) = (16, 31);
            } else {
                (heads, sectors_per_track) = (16, 63);
            }
        }
        let cylinders = total / sectors_per_track / heads;
        // 65535 cylinders, 16 heads and 255 sectors at most, by the limits above.
        Self {
            cylinders: u16::try_from(cylinders).unwrap_or(u16::MAX),
            heads: heads as u8,
            sectors_per_track: sectors_per_track as u8,
        }
    }

    /// Bytes that the geometry addresses.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors_per_track) * 512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_known_geometries() {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        for (size, cylinders, heads, sectors_per_track, bytes) in [
            (MIB, 30, 4, 17, 1_044_480),
            (3 * MIB, 90, 4, 17, 3_133_440),
            (10 * MIB, 301, 4, 17, 10_479_616),
            (40 * MIB, 963, 5, 17, 41_909_760),
            (100 * MIB, 1003, 12, 17, 104_761_344),
            (504 * MIB, 1024, 16, 63, 504 * MIB),
            (GIB, 2080, 16, 63, 1_073_479_680),
            (2 * GIB, 4161, 16, 63, 2_147_475_456),
            (32 * GIB, 16_448, 16, 255, 34_359_214_080),
            (127 * GIB, 65_278, 16, 255, 136_363_130_880),
            (128 * GIB, 65_535, 16, 255, 136_899_993_600),
            (2040 * GIB, 65_535, 16, 255, 136_899_993_600),
        ] {
            let geometry = Geometry::for_sectors(size / 512);
            assert_eq!(
                geometry,
                Geometry {
                    cylinders,
                    heads,
                    sectors_per_track
                },
                "{size}"
            );
            assert_eq!(geometry.bytes(), bytes, "{size}");
        }
        assert_eq!(Geometry::for_sectors(0).bytes(), 0);
        assert_eq!(Geometry::for_sectors(u64::MAX).cylinders, 65_535);
    }
}
