//! What the channel and the handles share.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

use serde::Serialize;
use vsc_video::wire::{Features, ProtocolVersion};

use super::memory::VideoMemory;
use super::mode::Mode;
use super::options::{ResolutionList, VideoOptions};
use crate::display::damage::DamageLog;
use crate::display::rectangle::Rectangle;
use crate::display::screen::{PointerShape, ScreenState};
use crate::partition::device_memory::{DeviceMemory, DeviceMemoryMapper};
use crate::vmbus::vsp::PollWaker;

/// Where the guest says that its pointer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PointerState {
    /// Whether it is to be seen; guests that draw it themselves say so as well.
    pub is_visible: bool,
    /// Column of the shape's upper left corner.
    pub x: i32,
    /// Row of the shape's upper left corner.
    pub y: i32,
}

/// How often something happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VideoCounters {
    /// Messages that were understood.
    pub messages: u64,
    /// Messages that were dropped: malformed, of unknown type or out of turn.
    pub bad_messages: u64,
    /// Version requests that were rejected.
    pub rejected_versions: u64,
    /// Places for video RAM that were refused.
    pub refused_locations: u64,
    /// Modes that were refused.
    pub refused_modes: u64,
    /// Pieces of pointer shapes that were refused.
    pub refused_pointers: u64,
    /// Rectangles of changed pixels that were inverted.
    pub refused_rectangles: u64,
}

/// The screen's state and counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VideoStatus {
    /// Whether the guest has opened the channel.
    pub is_open: bool,
    /// The negotiated version.
    pub version: Option<String>,
    /// Guest-physical address of video RAM.
    pub vram_address: Option<u64>,
    /// The mode that the guest has set last.
    pub mode: Option<Mode>,
    /// Whether there is a picture: a mode and video RAM.
    pub has_picture: bool,
    /// Viewers that look.
    pub viewers: usize,
    /// Whether the guest has reported changes in this session.
    pub reports_damage: bool,
    /// Number of the last change.
    pub damage_sequence: u64,
    /// Where the pointer is.
    pub pointer: PointerState,
    /// Counters.
    pub counters: VideoCounters,
}

/// The state that changes, under one lock. Video RAM is never read under it.
pub(super) struct State {
    pub(super) is_open: bool,
    pub(super) version: Option<ProtocolVersion>,
    pub(super) vram_address: Option<u64>,
    pub(super) mode: Option<Mode>,
    pub(super) picture_sequence: u64,
    pub(super) damage: DamageLog,
    pub(super) pointer: PointerState,
    pub(super) shape: Option<Arc<PointerShape>>,
    pub(super) pointer_sequence: u64,
    pub(super) has_dirt: bool,
    /// It reported changes once, and has been asked to do so again.
    pub(super) catches_up: bool,
    pub(super) viewers: usize,
    /// The guest is to be told which reports are wanted.
    pub(super) features_due: bool,
    /// What it was told.
    pub(super) features: Features,
    pub(super) resolutions: ResolutionList,
    pub(super) waker: Option<PollWaker>,
    pub(super) counters: VideoCounters,
}

impl State {
    /// The mode, if there is a picture.
    pub(super) fn picture(&self) -> Option<Mode> {
        self.vram_address.and(self.mode)
    }

    /// All of the picture may have changed, and so may its size.
    pub(super) fn picture_changed(&mut self) {
        self.picture_sequence += 1;
        self.repaint();
    }

    /// All of the picture may have changed.
    pub(super) fn repaint(&mut self) {
        let all = self.picture().map(|mode| mode.rectangle());
        self.damage.add(all.unwrap_or(Rectangle::sized(1, 1)));
    }

    /// The guest begins anew, or has gone.
    pub(super) fn reset(&mut self) {
        self.version = None;
        self.vram_address = None;
        self.mode = None;
        self.pointer = PointerState::default();
        if self.shape.take().is_some() {
            self.pointer_sequence += 1;
        }
        self.has_dirt = false;
        self.catches_up = false;
        self.features_due = false;
        self.features = Features::empty();
        self.picture_changed();
    }

    pub(super) fn screen(&self) -> ScreenState {
        ScreenState {
            size: self.picture().map(|mode| (mode.width, mode.height)),
            picture_sequence: self.picture_sequence,
            damage_sequence: self.damage.sequence(),
            pointer_sequence: self.pointer_sequence,
            reports_damage: self.has_dirt && self.features.contains(Features::DIRT),
        }
    }
}

pub(super) struct Shared {
    pub(super) options: VideoOptions,
    pub(super) mapper: Arc<dyn DeviceMemoryMapper>,
    pub(super) memory: Arc<DeviceMemory>,
    state: Mutex<State>,
    changed: Condvar,
    /// Where video RAM is. Held for reading while pixels are copied, so that nobody touches the guest's memory
    /// any more when the guest has got it back.
    place: RwLock<Option<VideoMemory>>,
}

impl Shared {
    pub(super) fn new(
        options: VideoOptions,
        mapper: Arc<dyn DeviceMemoryMapper>,
        memory: Arc<DeviceMemory>,
    ) -> Self {
        let state = State {
            is_open: false,
            version: None,
            vram_address: None,
            mode: None,
            picture_sequence: 0,
            damage: DamageLog::default(),
            pointer: PointerState::default(),
            shape: None,
            pointer_sequence: 0,
            has_dirt: false,
            catches_up: false,
            viewers: 0,
            features_due: false,
            features: Features::empty(),
            resolutions: options.resolutions.clone(),
            waker: None,
            counters: VideoCounters::default(),
        };
        Self {
            options,
            mapper,
            memory,
            state: Mutex::new(state),
            changed: Condvar::new(),
            place: RwLock::new(None),
        }
    }

    /// The state. A thread that panicked with the lock left nothing half-done that would matter here.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait that the state has changed.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until `is_new` or the time is over; the state then.
    pub(super) fn wait(
        &self,
        timeout: Duration,
        mut is_new: impl FnMut(&State) -> bool,
    ) -> MutexGuard<'_, State> {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), timeout, |state| !is_new(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn place(&self) -> RwLockReadGuard<'_, Option<VideoMemory>> {
        self.place.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn place_mut(&self) -> RwLockWriteGuard<'_, Option<VideoMemory>> {
        self.place.write().unwrap_or_else(PoisonError::into_inner)
    }
}
