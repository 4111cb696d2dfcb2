//! Who the guest says it is.

use core::fmt;

/// Value of the GUEST_OS_ID register. Zero means "no identified guest"; the
/// hypercall page works only while the value is not zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct GuestOsId(u64);

/// Type of an open-source operating system, 7 bits. Open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OsType(u8);

impl OsType {
    /// Linux.
    pub const LINUX: Self = Self(1);
    /// FreeBSD.
    pub const FREEBSD: Self = Self(2);
    /// Xen.
    pub const XEN: Self = Self(3);
    /// illumos.
    pub const ILLUMOS: Self = Self(4);
    /// None of the registered ones: this crate's default.
    pub const PRIVATE: Self = Self(0x7F);

    /// The type with this number, which has 7 bits.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number < 0x80 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number, below 0x80.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl GuestOsId {
    const OPEN_SOURCE: u64 = 1 << 63;

    /// No identified guest.
    pub const NONE: Self = Self(0);

    /// An open-source guest of [`OsType::PRIVATE`], version and build 0.
    pub const DEFAULT: Self = Self::open_source(OsType::PRIVATE);

    /// An open-source guest of this type, all else 0.
    #[must_use]
    pub const fn open_source(os_type: OsType) -> Self {
        Self(Self::OPEN_SOURCE | (os_type.number() as u64) << 56)
    }

    /// The same guest with its own field, bits 55:48, set.
    #[must_use]
    pub const fn with_os_specific(self, value: u8) -> Self {
        Self((self.0 & !(0xFF << 48)) | (value as u64) << 48)
    }

    /// The same guest with this version, bits 47:16.
    #[must_use]
    pub const fn with_version(self, version: u32) -> Self {
        Self((self.0 & !(0xFFFF_FFFF << 16)) | (version as u64) << 16)
    }

    /// The same guest with this build number, bits 15:0.
    #[must_use]
    pub const fn with_build(self, build: u16) -> Self {
        Self((self.0 & !0xFFFF) | build as u64)
    }

    /// The value as read from the register.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The value as written to the register.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether no guest has identified itself.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Type of the guest, if the value has the open-source form.
    #[must_use]
    pub const fn os_type(self) -> Option<OsType> {
        if self.0 & Self::OPEN_SOURCE != 0 {
            OsType::new((self.0 >> 56) as u8 & 0x7F)
        } else {
            None
        }
    }

    /// Version of an open-source guest.
    #[must_use]
    pub const fn version(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// Build number.
    #[must_use]
    pub const fn build(self) -> u16 {
        self.0 as u16
    }
}

impl Default for GuestOsId {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Debug for GuestOsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestOsId({:#018x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn linux_6_12_of_the_specification() {
        let id = GuestOsId::open_source(OsType::LINUX).with_version(0x0006_0C00);
        assert_eq!(id.bits(), 0x8100_0006_0C00_0000);
        assert_eq!(id.os_type(), Some(OsType::LINUX));
    }

    #[test]
    fn the_default_is_private_and_not_zero() {
        assert_eq!(GuestOsId::default().bits(), 0xFF00_0000_0000_0000);
        assert!(!GuestOsId::default().is_none());
        assert!(GuestOsId::NONE.is_none());
        assert_eq!(GuestOsId::from_bits(1 << 48).os_type(), None);
    }

    proptest! {
        #[test]
        fn fields_round_trip(number in 0u8..0x80, own: u8, version: u32, build: u16) {
            let os_type = OsType::new(number).unwrap();
            let id = GuestOsId::open_source(os_type)
                .with_build(build)
                .with_version(version)
                .with_os_specific(own);
            prop_assert_eq!(id.os_type(), Some(os_type));
            prop_assert_eq!(id.version(), version);
            prop_assert_eq!(id.build(), build);
            prop_assert_eq!(id.bits() >> 48 & 0xFF, u64::from(own));
        }
    }
}
