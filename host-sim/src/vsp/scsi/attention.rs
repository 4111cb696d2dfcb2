//! Unit attentions: changes that the guest has not been told of yet.

use std::sync::atomic::{AtomicU8, Ordering};

use vsc_storage::scsi::{AdditionalSense, Sense, SenseKey};

/// A change that the guest is told of once, by failing its next command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnitAttention {
    /// The disk's size changed.
    CapacityChanged,
    /// Limits or other parameters of the disk changed.
    ParametersChanged,
    /// Logical units appeared or went away.
    ReportedLunsChanged,
    /// Another medium is in the drive.
    MediumChanged,
}

impl UnitAttention {
    /// In the order in which they are reported.
    const ALL: [Self; 4] = [
        Self::CapacityChanged,
        Self::ParametersChanged,
        Self::ReportedLunsChanged,
        Self::MediumChanged,
    ];

    const fn bit(self) -> u8 {
        match self {
            Self::CapacityChanged => 1,
            Self::ParametersChanged => 2,
            Self::ReportedLunsChanged => 4,
            Self::MediumChanged => 8,
        }
    }

    /// The sense data that reports it.
    #[must_use]
    pub const fn sense(self) -> Sense {
        Sense::new(
            SenseKey::UNIT_ATTENTION,
            match self {
                Self::CapacityChanged => AdditionalSense::CAPACITY_DATA_CHANGED,
                Self::ParametersChanged => AdditionalSense::MICROCODE_CHANGED,
                Self::ReportedLunsChanged => AdditionalSense::REPORTED_LUNS_DATA_CHANGED,
                Self::MediumChanged => AdditionalSense::MEDIUM_MAY_HAVE_CHANGED,
            },
        )
    }
}

/// The unit attentions that wait; each kind at most once.
#[derive(Debug, Default)]
pub(super) struct Pending(AtomicU8);

impl Pending {
    pub(super) fn raise(&self, attention: UnitAttention) {
        self.0.fetch_or(attention.bit(), Ordering::AcqRel);
    }

    pub(super) fn withdraw(&self, attention: UnitAttention) {
        self.0.fetch_and(!attention.bit(), Ordering::AcqRel);
    }

    /// Takes the first that waits. Of several callers exactly one gets each.
    #[inline]
    pub(super) fn take(&self) -> Option<Sense> {
        if self.0.load(Ordering::Relaxed) == 0 {
            return None;
        }
        UnitAttention::ALL.into_iter().find_map(|attention| {
            let before = self.0.fetch_and(!attention.bit(), Ordering::AcqRel);
            (before & attention.bit() != 0).then(|| attention.sense())
        })
    }

    /// Raises all that wait elsewhere.
    pub(super) fn inherit(&self, other: &Self) {
        self.0
            .fetch_or(other.0.load(Ordering::Acquire), Ordering::AcqRel);
    }
}
