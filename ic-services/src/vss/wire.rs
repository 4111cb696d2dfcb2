//! The messages of the backup service.
//!
//! A reply is the request with its status and, for [`Operation::CHECK_HOT_BACKUP`] and
//! [`Operation::GET_DIRECT_MAPPED_INFO`], the guest's flags.

use core::fmt;

use vmbus_core::guid::Guid;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Most LUNs in a list.
pub const MAX_LUNS: usize = 260;
/// Fewest bytes of a body.
pub const LEAST_BODY: usize = 12;

/// What the host wants.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Operation(pub u8);

impl Operation {
    /// Creates a snapshot set ([`Set`], [`SetWithType`]).
    pub const CREATE: Self = Self(0);
    /// Deletes a snapshot set ([`Set`]).
    pub const DELETE: Self = Self(1);
    /// Asks whether a backup is possible while the guest runs ([`WithFlags`]).
    pub const CHECK_HOT_BACKUP: Self = Self(2);
    /// Asks for directly mapped devices ([`WithFlags`]).
    pub const GET_DIRECT_MAPPED_INFO: Self = Self(3);
    /// The backup is done; since 4.0.
    pub const BACKUP_COMPLETE: Self = Self(4);
    /// Freezes the file systems ([`Freeze`]); since 5.0.
    pub const FREEZE: Self = Self(5);
    /// Thaws them ([`WithFlags`]); since 5.0.
    pub const THAW: Self = Self(6);
    /// Recovers the snapshot ([`AutoRecover`]); since 5.0.
    pub const AUTO_RECOVER: Self = Self(7);
    /// Asks about cluster disks ([`QueryCluster`]); since 6.0.
    pub const QUERY_CLUSTER: Self = Self(8);
}

bitflags::bitflags! {
    /// How to freeze.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct FreezeFlags: u32 {
        /// The snapshot will be recovered by [`Operation::AUTO_RECOVER`].
        const AUTO_RECOVERY = 1;
        /// LUNs shared between guests are part of it.
        const SHARED_LUNS = 2;

        const _ = !0;
    }
}

/// What the guest answers to [`Operation::CHECK_HOT_BACKUP`]. The single bits are not published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HotBackup(pub u32);

impl HotBackup {
    /// Possible, but [`Operation::AUTO_RECOVER`] must not follow.
    pub const NO_AUTO_RECOVERY: Self = Self(5);
}

/// The header of every body.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Header {
    /// What is wanted.
    pub operation: Operation,
    /// Zero.
    pub reserved: [u8; 7],
}

const _: () = assert!(size_of::<Header>() == 8);

impl Header {
    /// The header of an operation.
    #[must_use]
    pub const fn new(operation: Operation) -> Self {
        Self {
            operation,
            reserved: [0; 7],
        }
    }
}

/// A header and flags: the shortest body.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct WithFlags {
    /// The header.
    pub header: Header,
    /// Flags; the guest's in some answers.
    pub flags: U32,
}

const _: () = assert!(size_of::<WithFlags>() == LEAST_BODY);

/// Names a snapshot set.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Set {
    /// The header.
    pub header: Header,
    /// The set.
    pub set: Guid,
}

const _: () = assert!(size_of::<Set>() == 24);

/// Names a snapshot set and says which kind of backup; since 2.0.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct SetWithType {
    /// The header.
    pub header: Header,
    /// The set.
    pub set: Guid,
    /// The kind.
    pub backup_type: U32,
}

const _: () = assert!(size_of::<SetWithType>() == 28);

/// What a disk hangs on.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct BusType(pub u8);

impl BusType {
    /// No disk.
    pub const NONE: Self = Self(0);
    /// A SCSI controller.
    pub const SCSI: Self = Self(1);
    /// IDE.
    pub const IDE: Self = Self(2);
}

/// A disk.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Lun {
    /// What it hangs on.
    pub bus: BusType,
    /// Zero.
    pub reserved: [u8; 3],
    /// The controller's instance.
    pub controller: Guid,
    /// Port.
    pub port: u8,
    /// Target.
    pub target: u8,
    /// Logical unit.
    pub lun: u8,
    /// Zero.
    pub padding: u8,
}

const _: () = assert!(size_of::<Lun>() == 24);

impl Lun {
    /// No disk.
    pub const NONE: Self = Self {
        bus: BusType::NONE,
        reserved: [0; 3],
        controller: Guid::ZERO,
        port: 0,
        target: 0,
        lun: 0,
        padding: 0,
    };
}

/// More LUNs than a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyLuns(
    /// How many.
    pub usize,
);

impl fmt::Display for TooManyLuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} LUNs, not {MAX_LUNS} at most", self.0)
    }
}

impl core::error::Error for TooManyLuns {}

/// Asks the guest to freeze its file systems.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Freeze {
    /// The header.
    pub header: Header,
    /// Kind of backup.
    pub backup_type: U32,
    /// [`FreezeFlags`].
    pub flags: U32,
    /// Disks in the list.
    pub lun_count: U32,
    /// The disks to be backed up.
    pub luns: [Lun; MAX_LUNS],
}

const _: () = assert!(size_of::<Freeze>() == 6260);

impl Freeze {
    /// A request of this operation for these disks; none means all.
    ///
    /// # Errors
    /// [`TooManyLuns`].
    pub fn new(
        operation: Operation,
        backup_type: u32,
        flags: FreezeFlags,
        luns: &[Lun],
    ) -> Result<Self, TooManyLuns> {
        let count = u32::try_from(luns.len()).map_err(|_| TooManyLuns(luns.len()))?;
        let mut list = [Lun::NONE; MAX_LUNS];
        list.get_mut(..luns.len())
            .ok_or(TooManyLuns(luns.len()))?
            .copy_from_slice(luns);
        Ok(Self {
            header: Header::new(operation),
            backup_type: backup_type.into(),
            flags: flags.bits().into(),
            lun_count: count.into(),
            luns: list,
        })
    }

    /// The disks.
    ///
    /// # Errors
    /// [`TooManyLuns`] if the count is larger than the list.
    pub fn luns(&self) -> Result<&[Lun], TooManyLuns> {
        let count = usize::try_from(self.lun_count.get()).unwrap_or(usize::MAX);
        self.luns.get(..count).ok_or(TooManyLuns(count))
    }
}

/// Asks the guest to recover the snapshot, on the second list's disks.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct AutoRecover {
    /// As in the freeze, with its own operation.
    pub freeze: Freeze,
    /// The snapshots of the disks, in the same order.
    pub snapshots: [Lun; MAX_LUNS],
}

const _: () = assert!(size_of::<AutoRecover>() == 12_500);

/// Asks about the disks of a cluster; the guest fills in the states.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct QueryCluster {
    /// The header.
    pub header: Header,
    /// The cluster.
    pub cluster: Guid,
    /// Bytes.
    pub size: U32,
    /// Disks in the list.
    pub lun_count: U32,
    /// The disks.
    pub luns: [Lun; MAX_LUNS],
    /// Their states.
    pub states: [U32; MAX_LUNS],
}

const _: () = assert!(size_of::<QueryCluster>() == 7312);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_are_where_the_specification_has_them() {
        assert_eq!(offset_of!(Freeze, backup_type), 8);
        assert_eq!(offset_of!(Freeze, flags), 12);
        assert_eq!(offset_of!(Freeze, lun_count), 16);
        assert_eq!(offset_of!(Freeze, luns), 20);
        assert_eq!(offset_of!(Lun, controller), 4);
        assert_eq!(offset_of!(Lun, port), 20);
        assert_eq!(offset_of!(AutoRecover, snapshots), 6260);
    }

    #[test]
    fn lists_have_their_limit() {
        let flags = FreezeFlags::AUTO_RECOVERY;
        let lun = Lun {
            lun: 3,
            ..Lun::NONE
        };
        let full = Freeze::new(Operation::FREEZE, 1, flags, &[lun; MAX_LUNS]).unwrap();
        assert_eq!(full.luns().unwrap(), [lun; MAX_LUNS]);
        assert_eq!(
            Freeze::new(Operation::FREEZE, 1, flags, &[lun; MAX_LUNS + 1]),
            Err(TooManyLuns(261))
        );
        for count in [261, u32::MAX] {
            let mut lie = full;
            lie.lun_count = count.into();
            assert_eq!(lie.luns(), Err(TooManyLuns(count as usize)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 6260)) {
            let freeze = Freeze::read_from_bytes(&bytes).unwrap();
            prop_assert_eq!(freeze.luns().is_ok(), freeze.lun_count.get() <= 260);
            prop_assert_eq!(freeze.as_bytes(), &bytes[..]);
        }
    }
}
