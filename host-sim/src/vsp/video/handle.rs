//! What looks at the screen.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::options::{OptionsError, ResolutionList};
use super::state::{PointerState, Shared, State, VideoStatus};
use super::{Mode, VideoMemory};
use crate::display::picture::RgbImage;
use crate::display::rectangle::Rectangle;
use crate::display::screen::{Damage, NoPicture, PointerShape, Screen, ScreenState};

/// Looks at the screen; clones share it.
#[derive(Clone)]
pub struct VideoHandle {
    shared: Arc<Shared>,
}

/// Why there is no image of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// The guest has no driver for the screen, or it has not started yet, or has closed it.
    #[error("the guest has not opened the screen")]
    NotOpen,
    /// The guest has not said where its picture is and how large.
    #[error("the guest shows no picture yet")]
    NoPicture,
}

impl VideoHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The mode in which there is a picture.
    #[must_use]
    pub fn mode(&self) -> Option<Mode> {
        self.shared.lock().picture()
    }

    /// The picture as it is now. The guest may draw at the same moment.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn snapshot(&self) -> Result<RgbImage, SnapshotError> {
        // Between the two looks the mode may change; a third is then as good as the second.
        for _ in 0..8 {
            let state = self.shared.lock();
            if !state.is_open {
                return Err(SnapshotError::NotOpen);
            }
            let Some(mode) = state.picture() else {
                return Err(SnapshotError::NoPicture);
            };
            drop(state);
            let mut pixels = Vec::new();
            if self.read(mode.rectangle(), &mut pixels).is_ok() {
                return Ok(RgbImage::new(mode.width, mode.height, &pixels));
            }
        }
        Err(SnapshotError::NoPicture)
    }

    /// Waits until something differs from `seen` or the time is over; where the screen is then.
    #[must_use]
    pub fn wait_for_change(&self, seen: &ScreenState, timeout: Duration) -> ScreenState {
        self.shared
            .wait(timeout, |state| state.screen() != *seen)
            .screen()
    }

    /// Where the guest says that its pointer is.
    #[must_use]
    pub fn pointer_state(&self) -> PointerState {
        self.shared.lock().pointer
    }

    /// Offers other resolutions. The protocol has no message for it: the guest learns of them when it asks the
    /// next time, which drivers do when they start.
    ///
    /// # Errors
    /// [`OptionsError::TooLarge`] if one of them doesn't fit into video RAM; nothing has changed then.
    pub fn set_resolutions(&self, resolutions: ResolutionList) -> Result<(), OptionsError> {
        resolutions.check(self.shared.options.vram_megabytes)?;
        self.shared.lock().resolutions = resolutions;
        Ok(())
    }

    /// State and counters.
    #[must_use]
    pub fn status(&self) -> VideoStatus {
        let state = self.shared.lock();
        let screen = state.screen();
        VideoStatus {
            is_open: state.is_open,
            version: state.version.map(|version| version.to_string()),
            vram_address: state.vram_address,
            mode: state.mode,
            has_picture: screen.size.is_some(),
            viewers: state.viewers,
            reports_damage: screen.reports_damage,
            damage_sequence: screen.damage_sequence,
            pointer: state.pointer,
            counters: state.counters,
        }
    }

    /// Changes the number of viewers, and has the guest told which reports they want.
    fn change_viewers(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.shared.lock();
        change(&mut state);
        state.features_due = true;
        let waker = state.waker.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Screen for VideoHandle {
    fn state(&self) -> ScreenState {
        self.shared.lock().screen()
    }

    fn damage_since(&self, sequence: u64) -> Damage {
        let state = self.shared.lock();
        let all = || {
            let mode = state.picture();
            mode.iter().map(Mode::rectangle).collect()
        };
        Damage {
            sequence: state.damage.sequence(),
            rectangles: match sequence {
                0 => all(),
                _ => state.damage.since(sequence).unwrap_or_else(all),
            },
        }
    }

    fn read(&self, rectangle: Rectangle, into: &mut Vec<u32>) -> Result<(), NoPicture> {
        into.clear();
        // The mode is looked at again while the place is held: both belong together.
        let place = self.shared.place();
        let mode = self.shared.lock().picture().ok_or(NoPicture)?;
        let memory = place.as_ref().ok_or(NoPicture)?;
        if rectangle.is_empty() || !mode.rectangle().contains(&rectangle) {
            return Err(NoPicture);
        }
        copy(memory, &mode, rectangle, into)
    }

    fn pointer(&self) -> Option<Arc<PointerShape>> {
        self.shared.lock().shape.clone()
    }

    fn attach(&self) {
        self.change_viewers(|state| state.viewers += 1);
    }

    fn detach(&self) {
        self.change_viewers(|state| state.viewers = state.viewers.saturating_sub(1));
    }
}

/// Copies the pixels of a rectangle within the mode.
fn copy(
    memory: &VideoMemory,
    mode: &Mode,
    rectangle: Rectangle,
    into: &mut Vec<u32>,
) -> Result<(), NoPicture> {
    let format = mode.format();
    // At most 8192 pixels of 4 bytes.
    let mut row = vec![0; (rectangle.width() * format.bytes()) as usize];
    into.reserve(usize::try_from(rectangle.area()).unwrap_or(0));
    for y in rectangle.top..rectangle.bottom {
        let left = u64::from(rectangle.left * format.bytes());
        let offset = u64::from(y) * u64::from(mode.pitch) + left;
        if !memory.read(offset, &mut row) {
            return Err(NoPicture);
        }
        format.decode(&row, into);
    }
    Ok(())
}
