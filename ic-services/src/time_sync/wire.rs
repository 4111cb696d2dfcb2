//! The messages of time synchronisation.
//!
//! Times are in units of 100 ns since 1601-01-01 UTC, without leap seconds.

use core::fmt;

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::wire::Version;

/// Units from 1601-01-01 to 1970-01-01.
pub const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
/// The first version whose messages carry the reference time.
pub const FIRST_WITH_REFERENCE_TIME: Version = Version::new(4, 0);

bitflags::bitflags! {
    /// What a message is for; none: a probe.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct TimeFlags: u8 {
        /// The guest sets its clock.
        const SYNC = 1;
        /// The guest notes the time.
        const SAMPLE = 2;

        const _ = !0;
    }
}

/// Body before version 4.0.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct TimeBody {
    /// The host's time.
    pub parent_time: U64,
    /// Unused.
    pub child_time: U64,
    /// Unused.
    pub round_trip: U64,
    /// [`TimeFlags`].
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<TimeBody>() == 28);
/// Fewest bytes of a [`TimeBody`]: without the reserved ones.
pub const LEAST_TIME_BODY: usize = 25;

/// Body from version 4.0 on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ReferenceTimeBody {
    /// The host's time.
    pub parent_time: U64,
    /// The partition's reference counter when the host's time was taken, in units of 100 ns.
    pub reference_time: U64,
    /// [`TimeFlags`].
    pub flags: u8,
    /// Leap indicator, as in NTP.
    pub leap_indicator: u8,
    /// Stratum, as in NTP.
    pub stratum: u8,
    /// Zero; some guests know only 3 of them.
    pub reserved: [u8; 5],
}

const _: () = assert!(size_of::<ReferenceTimeBody>() == 24);
/// Fewest bytes of a [`ReferenceTimeBody`].
pub const LEAST_REFERENCE_TIME_BODY: usize = 22;

/// What a message says, whatever its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeMessage {
    /// The host's time, in 100 ns since 1601.
    pub parent_time: u64,
    /// The reference counter at that time, if the version carries it.
    pub reference_time: Option<u64>,
    /// What it is for.
    pub flags: TimeFlags,
}

/// The body is too short for its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortTimeBody {
    /// Its bytes.
    pub length: usize,
    /// The fewest.
    pub least: usize,
}

impl fmt::Display for ShortTimeBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, least } = self;
        write!(f, "time message of {length} bytes, not {least}")
    }
}

impl core::error::Error for ShortTimeBody {}

/// Fewest bytes of a body of this version.
#[must_use]
pub fn least_body(version: Version) -> usize {
    if version >= FIRST_WITH_REFERENCE_TIME {
        LEAST_REFERENCE_TIME_BODY
    } else {
        LEAST_TIME_BODY
    }
}

impl TimeMessage {
    /// Reads a body of this version.
    ///
    /// # Errors
    /// [`ShortTimeBody`].
    pub fn parse(version: Version, body: &[u8]) -> Result<Self, ShortTimeBody> {
        let least = least_body(version);
        let length = body.len();
        let short = ShortTimeBody { length, least };
        if length < least {
            return Err(short);
        }
        // The reserved bytes may be missing.
        let mut bytes = [0; size_of::<TimeBody>()];
        for (to, from) in bytes.iter_mut().zip(body) {
            *to = *from;
        }
        if version >= FIRST_WITH_REFERENCE_TIME {
            let (body, _) = ReferenceTimeBody::read_from_prefix(&bytes).map_err(|_| short)?;
            return Ok(Self {
                parent_time: body.parent_time.get(),
                reference_time: Some(body.reference_time.get()),
                flags: TimeFlags::from_bits_retain(body.flags),
            });
        }
        let (body, _) = TimeBody::read_from_prefix(&bytes).map_err(|_| short)?;
        Ok(Self {
            parent_time: body.parent_time.get(),
            reference_time: None,
            flags: TimeFlags::from_bits_retain(body.flags),
        })
    }

    /// The body for a version that carries no reference time.
    #[must_use]
    pub fn to_time_body(&self) -> TimeBody {
        TimeBody {
            parent_time: self.parent_time.into(),
            child_time: 0.into(),
            round_trip: 0.into(),
            flags: self.flags.bits(),
            reserved: [0; 3],
        }
    }

    /// The body for a version that carries the reference time (0 if there is none).
    #[must_use]
    pub fn to_reference_time_body(&self) -> ReferenceTimeBody {
        ReferenceTimeBody {
            parent_time: self.parent_time.into(),
            reference_time: self.reference_time.unwrap_or_default().into(),
            flags: self.flags.bits(),
            leap_indicator: 0,
            stratum: 0,
            reserved: [0; 5],
        }
    }
}

/// Nanoseconds since 1970 of a time on the wire.
#[must_use]
pub const fn to_unix_nanoseconds(time: u64) -> i128 {
    (time as i128 - UNIX_EPOCH as i128) * 100
}

/// The time on the wire of nanoseconds since 1970, rounded down; `None` before 1601 and beyond what it can say.
#[must_use]
pub fn from_unix_nanoseconds(nanoseconds: i128) -> Option<u64> {
    let units = nanoseconds.div_euclid(100);
    u64::try_from(units.checked_add(i128::from(UNIX_EPOCH))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V3: Version = Version::new(3, 0);
    const V4: Version = Version::new(4, 0);

    // TS8
    #[test]
    fn epochs() {
        assert_eq!(to_unix_nanoseconds(UNIX_EPOCH), 0);
        assert_eq!(from_unix_nanoseconds(0), Some(UNIX_EPOCH));
        assert_eq!(from_unix_nanoseconds(-1), Some(UNIX_EPOCH - 1));
        let first = to_unix_nanoseconds(0);
        assert_eq!(from_unix_nanoseconds(first), Some(0));
        assert_eq!(from_unix_nanoseconds(first - 1), None);
        assert_eq!(from_unix_nanoseconds(i128::MAX), None);
    }

    #[test]
    fn the_bytes_are_where_the_specification_has_them() {
        let message = TimeMessage {
            parent_time: 0x0807_0605_0403_0201,
            reference_time: Some(0x1817_1615_1413_1211),
            flags: TimeFlags::SYNC,
        };
        let new = message.to_reference_time_body();
        assert_eq!(new.as_bytes()[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(
            new.as_bytes()[8..16],
            [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]
        );
        assert_eq!(new.as_bytes()[16..], [1, 0, 0, 0, 0, 0, 0, 0]);
        let old = message.to_time_body();
        assert_eq!(old.as_bytes()[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(old.as_bytes()[8..24], [0; 16]);
        assert_eq!(old.as_bytes()[24..], [1, 0, 0, 0]);
    }

    // TS4g
    #[test]
    fn short_bodies_are_refused() {
        for (version, least) in [(Version::new(1, 0), 25), (V3, 25), (V4, 22)] {
            assert!(TimeMessage::parse(version, &[0; 28][..least]).is_ok());
            assert_eq!(
                TimeMessage::parse(version, &[0; 28][..least - 1]),
                Err(ShortTimeBody {
                    length: least - 1,
                    least
                })
            );
        }
    }

    proptest! {
        #[test]
        fn messages_go_round(parent_time: u64, reference: u64, flags: u8) {
            let flags = TimeFlags::from_bits_retain(flags);
            let message = TimeMessage { parent_time, reference_time: Some(reference), flags };
            let body = message.to_reference_time_body();
            prop_assert_eq!(TimeMessage::parse(V4, body.as_bytes()), Ok(message));
            let old = TimeMessage { reference_time: None, ..message };
            prop_assert_eq!(TimeMessage::parse(V3, message.to_time_body().as_bytes()), Ok(old));
        }

        #[test]
        fn fault_78_any_time_converts(time: u64) {
            prop_assert_eq!(from_unix_nanoseconds(to_unix_nanoseconds(time)), Some(time));
        }

        #[test]
        fn any_bytes_are_survived(
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
            major: u16,
        ) {
            for version in [V3, V4, Version::new(major, 0)] {
                let parsed = TimeMessage::parse(version, &bytes);
                prop_assert_eq!(parsed.is_ok(), bytes.len() >= least_body(version));
            }
        }
    }
}
