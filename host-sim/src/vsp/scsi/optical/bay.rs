//! Where the medium is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use vsc_storage::scsi::AdditionalSense;
use vsc_storage::scsi::optical::{MediaEvent, event_code};

use super::{Medium, MediumError, not_ready};
use crate::disk::DiskImage;
use crate::vsp::scsi::Outcome;

/// Events that wait for a guest that does not ask; older ones are forgotten first.
const MAX_EVENTS: usize = 4;

/// What a drive is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DriveState {
    /// There is a medium, in the drive or on the open tray.
    pub has_medium: bool,
    /// The tray is open.
    pub tray_open: bool,
    /// The guest has locked the door.
    pub locked: bool,
}

#[derive(Default)]
struct State {
    /// What the operator has put in. With the tray open the guest cannot use it.
    configured: Option<Medium>,
    tray_open: bool,
    locked: bool,
    events: VecDeque<u8>,
}

impl State {
    fn note(&mut self, event: u8) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn present(&self) -> Option<&Medium> {
        self.configured.as_ref().filter(|_| !self.tray_open)
    }

    /// The medium goes, if there is one.
    fn leaves(&mut self) {
        if self.present().is_some() {
            // What was to be said about it is overtaken.
            self.events.clear();
            self.note(event_code::REMOVAL);
        }
    }
}

pub(super) struct Bay(Mutex<State>);

impl Bay {
    pub(super) fn new(medium: Option<Medium>) -> Self {
        Self(Mutex::new(State {
            configured: medium,
            ..State::default()
        }))
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The medium, if it can be used.
    pub(super) fn ready(&self) -> Result<Medium, Outcome> {
        let state = self.lock_state();
        state.present().cloned().ok_or_else(|| {
            not_ready(if state.tray_open {
                AdditionalSense::MEDIUM_NOT_PRESENT_TRAY_OPEN
            } else {
                AdditionalSense::MEDIUM_NOT_PRESENT_TRAY_CLOSED
            })
        })
    }

    pub(super) fn configured(&self) -> Option<Medium> {
        self.lock_state().configured.clone()
    }

    pub(super) fn state(&self) -> DriveState {
        let state = self.lock_state();
        DriveState {
            has_medium: state.configured.is_some(),
            tray_open: state.tray_open,
            locked: state.locked,
        }
    }

    pub(super) fn insert(
        &self,
        medium: Medium,
        force: bool,
    ) -> Result<Option<Arc<dyn DiskImage>>, MediumError> {
        let mut state = self.lock_state();
        if state.locked && !force && state.present().is_some() {
            state.note(event_code::EJECT_REQUEST);
            return Err(MediumError::Locked);
        }
        state.leaves();
        state.note(event_code::NEW_MEDIUM);
        state.tray_open = false;
        let old = state.configured.replace(medium);
        Ok(old.map(|old| Arc::clone(old.image.inner())))
    }

    pub(super) fn eject(&self, force: bool) -> Result<Option<Arc<dyn DiskImage>>, MediumError> {
        let mut state = self.lock_state();
        if state.locked && !force && state.present().is_some() {
            state.note(event_code::EJECT_REQUEST);
            return Err(MediumError::Locked);
        }
        state.leaves();
        let old = state.configured.take();
        Ok(old.map(|old| Arc::clone(old.image.inner())))
    }

    /// PREVENT ALLOW MEDIUM REMOVAL: 0 allows, everything else prevents.
    pub(super) fn lock(&self, prevent: u8) {
        self.lock_state().locked = prevent != 0;
    }

    pub(super) fn unlock(&self) {
        self.lock(0);
    }

    /// The guest opens the tray.
    pub(super) fn open_tray(&self) -> Outcome {
        let mut state = self.lock_state();
        if state.locked {
            return if state.present().is_some() {
                Outcome::illegal(AdditionalSense::MEDIUM_REMOVAL_PREVENTED)
            } else {
                not_ready(AdditionalSense::MEDIUM_REMOVAL_PREVENTED)
            };
        }
        state.leaves();
        state.tray_open = true;
        Outcome::DONE
    }

    /// The guest closes the tray; whether it holds a medium that could not be used before.
    pub(super) fn close_tray(&self) -> bool {
        let mut state = self.lock_state();
        let comes = state.tray_open && state.configured.is_some();
        state.tray_open = false;
        if comes {
            state.note(event_code::NEW_MEDIUM);
        }
        comes
    }

    /// Takes the next event, with the state as it is now.
    pub(super) fn take_event(&self, take: bool) -> MediaEvent {
        let mut state = self.lock_state();
        let code = if take {
            state.events.pop_front()
        } else {
            state.events.front().copied()
        };
        let mut status = 0;
        if state.tray_open {
            status |= MediaEvent::TRAY_OPEN;
        }
        if state.present().is_some() {
            status |= MediaEvent::MEDIUM_PRESENT;
        }
        MediaEvent {
            code: code.unwrap_or(event_code::NONE),
            status,
            start_slot: 0,
            end_slot: 0,
        }
    }
}
