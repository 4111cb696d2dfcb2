//! What a unit has still to tell its guest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use vsc_storage::scsi::{Opcode, Sense};

use super::attention::Pending;
use super::{DataBuffer, Outcome, UnitAttention};

/// Fewest bytes of sense data that say anything.
const SENSE_HEADER: u32 = 8;

/// Unit attentions, and what REQUEST SENSE answers.
#[derive(Debug, Default)]
pub(super) struct Reports {
    attentions: Pending,
    /// What the last failed command said, for REQUEST SENSE.
    last_sense: Mutex<Option<Sense>>,
    /// Whether `last_sense` holds something: saves the lock.
    has_last_sense: AtomicBool,
}

impl Reports {
    /// Makes the next command that may report it fail with this unit attention.
    pub(super) fn raise(&self, attention: UnitAttention) {
        self.attentions.raise(attention);
    }

    /// Forgets a unit attention that is overtaken.
    pub(super) fn withdraw(&self, attention: UnitAttention) {
        self.attentions.withdraw(attention);
    }

    /// Takes over what `predecessor` had not reported yet.
    pub(super) fn inherit(&self, predecessor: &Self) {
        self.attentions.inherit(&predecessor.attentions);
    }

    /// Takes the unit attention that the next command is to fail with.
    #[inline]
    pub(super) fn take_attention(&self) -> Option<Sense> {
        self.attentions.take()
    }

    /// Remembers how a command failed.
    #[inline]
    pub(super) fn remember(&self, opcode: u8, outcome: &Outcome) {
        if !outcome.is_good()
            && Opcode(opcode) != Opcode::REQUEST_SENSE
            && let Some(sense) = outcome.statuses().sense
        {
            let mut last = self
                .last_sense
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *last = Some(sense);
            self.has_last_sense.store(true, Ordering::Release);
        }
    }

    /// Answers REQUEST SENSE.
    pub(super) fn request_sense(
        &self,
        descriptor_format: bool,
        allocation_length: u8,
        data: &DataBuffer<'_>,
    ) -> Outcome {
        let allocation = u32::from(allocation_length);
        if descriptor_format || allocation < SENSE_HEADER || allocation > data.length() {
            return Outcome::BAD_FIELD;
        }
        let sense = self.take_attention().or_else(|| {
            if !self.has_last_sense.swap(false, Ordering::AcqRel) {
                return None;
            }
            self.last_sense
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take()
        });
        data.reply(
            &sense.unwrap_or(Sense::NONE).to_bytes(),
            allocation_length.into(),
        )
    }
}
