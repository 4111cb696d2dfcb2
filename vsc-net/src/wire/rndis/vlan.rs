//! VLAN tags in per-packet information.

/// A VLAN tag: priority in bits 0 to 2, drop-eligible in bit 3, id from bit 4 on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VlanTag(pub u32);

impl VlanTag {
    /// The tag whose control word on the wire is `tci`.
    #[must_use]
    pub const fn from_tci(tci: u16) -> Self {
        let tci = tci as u32;
        Self(tci >> 13 | (tci >> 12 & 1) << 3 | (tci & 0xFFF) << 4)
    }

    /// The control word on the wire.
    #[must_use]
    pub const fn tci(self) -> u16 {
        let word = (self.0 & 7) << 13 | (self.0 >> 3 & 1) << 12 | self.0 >> 4 & 0xFFF;
        word as u16
    }

    /// VLAN id, 0 to 4095; 0 for a tag that says a priority only.
    #[must_use]
    pub const fn id(self) -> u16 {
        (self.0 >> 4 & 0xFFF) as u16
    }

    /// Priority, 0 to 7.
    #[must_use]
    pub const fn priority(self) -> u8 {
        (self.0 & 7) as u8
    }
}
