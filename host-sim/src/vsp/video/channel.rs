//! The protocol: the screen's end of its channel.

use std::sync::Arc;

use vsc_video::wire::{
    Acceptance, Dirt, Features, GuestMessage, HostMessage, MessageError, MessageType,
    PointerPosition, PointerShape, ProtocolVersion, Resolutions, Situation, Version, VramLocation,
    edid,
};

use super::memory::VideoMemory;
use super::mode::{Mode, clamp};
use super::pointer::Assembler;
use super::state::{PointerState, Shared};
use crate::memory::GuestMemory;
use crate::vmbus::vsp::PollWaker;
use crate::vsp::message_channel::{MessageDevice, Turn, Verdict};

/// Screens of every machine.
const VIDEO_OUTPUTS: u8 = 1;
/// The guest may release the device: what hosts of second-generation machines say.
const GUEST_MAY_RELEASE: u32 = 1;

pub(super) struct VideoEnd {
    shared: Arc<Shared>,
    version: Option<ProtocolVersion>,
    assembler: Assembler,
    /// The guest has set a mode in this session.
    has_situation: bool,
}

impl VideoEnd {
    pub(super) fn new(shared: Arc<Shared>, waker: PollWaker) -> Self {
        let mut end = Self {
            shared,
            version: None,
            assembler: Assembler::default(),
            has_situation: false,
        };
        end.reset();
        let mut state = end.shared.lock();
        state.is_open = true;
        state.waker = Some(waker);
        drop(state);
        end
    }

    /// Back to where the guest asks for a version: no video RAM, no mode, no pointer.
    fn reset(&mut self) {
        self.version = None;
        self.assembler = Assembler::default();
        self.has_situation = false;
        self.shared.lock().reset();
        self.shared.notify();
        // Waits for those who copy pixels, and unmaps.
        let place = self.shared.place_mut().take();
        drop(place);
    }

    fn negotiate(&mut self, version: Version, turn: &mut Turn<'_>) -> Verdict {
        self.reset();
        let options = &self.shared.options;
        self.version = ProtocolVersion::from_wire(version)
            .filter(|version| (options.oldest..=options.newest).contains(version));
        let acceptance = if self.version.is_some() {
            Acceptance::ACCEPTED_WITH_VERSION
        } else {
            Acceptance::REJECTED
        };
        let mut state = self.shared.lock();
        state.version = self.version;
        if self.version.is_none() {
            state.counters.rejected_versions += 1;
        }
        drop(state);
        tracing::debug!(%version, ?acceptance, "video: version asked for");
        answer(
            turn,
            &HostMessage::VersionResponse {
                version,
                acceptance,
                video_outputs: VIDEO_OUTPUTS,
            },
        );
        Verdict::Good
    }

    fn locate(&mut self, location: VramLocation, turn: &mut Turn<'_>) -> Verdict {
        // The old place first: the new one may overlap it.
        let is_placed = self.place(location.address, turn.memory);
        // There is no message for a refusal; a guest that compares the context fails cleanly.
        let user_context = if is_placed {
            location.user_context
        } else {
            !location.user_context
        };
        answer(turn, &HostMessage::VramLocationAck { user_context });
        Verdict::Good
    }

    /// Puts video RAM where the guest wants it, or away; `false` if that place is refused.
    fn place(&mut self, address: Option<u64>, ram: &GuestMemory) -> bool {
        let mut place = self.shared.place_mut();
        drop(place.take());
        let mut is_placed = true;
        if let Some(address) = address {
            let shared = &self.shared;
            match VideoMemory::place(address, &shared.memory, &shared.mapper, ram) {
                Ok(memory) => *place = Some(memory),
                Err(error) => {
                    tracing::warn!(address, %error, "video: place of video RAM refused");
                    is_placed = false;
                }
            }
        }
        let address = place.as_ref().map(VideoMemory::address);
        drop(place);
        let mut state = self.shared.lock();
        if !is_placed {
            state.counters.refused_locations += 1;
        }
        state.vram_address = address;
        state.picture_changed();
        drop(state);
        self.shared.notify();
        is_placed
    }

    fn situate(
        &mut self,
        version: ProtocolVersion,
        situation: &Situation,
        turn: &mut Turn<'_>,
    ) -> Verdict {
        let mode = Mode::check(situation, version, self.shared.memory.size());
        let mut state = self.shared.lock();
        match mode {
            Ok(mode) if state.mode == Some(mode) => state.repaint(),
            Ok(mode) => {
                state.mode = Some(mode);
                state.picture_changed();
                tracing::debug!(?mode, "video: mode set");
            }
            Err(error) => {
                state.counters.refused_modes += 1;
                tracing::warn!(%error, "video: mode refused");
            }
        }
        if !self.has_situation {
            self.has_situation = true;
            // Guests of Linux report nothing until they are asked to.
            state.features_due = true;
        }
        drop(state);
        self.shared.notify();
        let user_context = situation.user_context;
        answer(turn, &HostMessage::SituationUpdateAck { user_context });
        Verdict::Good
    }

    fn point(&self, position: &PointerPosition) -> Verdict {
        let mut state = self.shared.lock();
        state.pointer = PointerState {
            is_visible: position.is_visible,
            x: position.x,
            y: position.y,
        };
        Verdict::Good
    }

    fn shape(&mut self, chunk: &PointerShape<'_>) -> Verdict {
        let result = self.assembler.push(chunk);
        let mut state = self.shared.lock();
        match result {
            Ok(None) => Verdict::Good,
            Ok(Some(shape)) => {
                if state.shape.as_deref() != Some(&shape) {
                    state.shape = Some(Arc::new(shape));
                    state.pointer_sequence += 1;
                    drop(state);
                    self.shared.notify();
                }
                Verdict::Good
            }
            Err(error) => {
                state.counters.refused_pointers += 1;
                tracing::debug!(%error, "video: pointer refused");
                Verdict::Bad
            }
        }
    }

    fn dirt(&self, dirt: &Dirt<'_>) -> Verdict {
        let mut state = self.shared.lock();
        state.has_dirt = true;
        if std::mem::take(&mut state.catches_up) {
            // What it has drawn since it was asked to report again it may not have reported.
            state.repaint();
        }
        let Some(mode) = state.picture() else {
            // Nothing is shown that could have changed.
            return Verdict::Good;
        };
        for rectangle in dirt.rectangles {
            match clamp(rectangle, &mode) {
                Some(rectangle) => state.damage.add(rectangle),
                None => state.counters.refused_rectangles += 1,
            }
        }
        drop(state);
        self.shared.notify();
        Verdict::Good
    }

    fn tell_resolutions(&self, most: u8, turn: &mut Turn<'_>) -> Verdict {
        let state = self.shared.lock();
        let (list, default_index) = state.resolutions.first(usize::from(most));
        let (width, height) = state.resolutions.preferred();
        drop(state);
        answer(
            turn,
            &HostMessage::SupportedResolutionsResponse(Resolutions {
                edid: &edid(width, height),
                default_index,
                is_standard: false,
                list: &list,
            }),
        );
        Verdict::Good
    }

    fn handle(&mut self, message: &[u8], turn: &mut Turn<'_>) -> Verdict {
        let message = match GuestMessage::parse(message) {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(%error, "video: message dropped");
                if let MessageError::OutOfRange {
                    message_type: MessageType::DIRT,
                    ..
                } = error
                {
                    // What has changed isn't known, but something has.
                    self.shared.lock().repaint();
                    self.shared.notify();
                }
                return Verdict::Bad;
            }
        };
        if let GuestMessage::VersionRequest(version) = message {
            return self.negotiate(version, turn);
        }
        let Some(version) = self.version else {
            return Verdict::Bad;
        };
        match message {
            GuestMessage::VramLocation(location) => self.locate(location, turn),
            GuestMessage::SituationUpdate(situation) => self.situate(version, &situation, turn),
            GuestMessage::PointerPosition(position) => self.point(&position),
            GuestMessage::PointerShape(chunk) => self.shape(&chunk),
            GuestMessage::Dirt(dirt) => self.dirt(&dirt),
            GuestMessage::BiosInfoRequest if version >= ProtocolVersion::V3_3 => {
                let flags = GUEST_MAY_RELEASE;
                answer(turn, &HostMessage::BiosInfoResponse { flags });
                Verdict::Good
            }
            GuestMessage::SupportedResolutionsRequest(most) if version >= ProtocolVersion::V3_5 => {
                self.tell_resolutions(most, turn)
            }
            GuestMessage::CapabilityRequest if version >= ProtocolVersion::V3_5 => {
                answer(turn, &HostMessage::CapabilityResponse { flags: 0 });
                Verdict::Good
            }
            GuestMessage::Error => {
                tracing::debug!("video: the guest reports an error");
                Verdict::Good
            }
            // Messages of newer versions.
            _ => Verdict::Bad,
        }
    }
}

fn answer(turn: &mut Turn<'_>, message: &HostMessage<'_>) {
    turn.answers.push(emitted(message));
}

fn emitted(message: &HostMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    bytes
}

impl MessageDevice for VideoEnd {
    const IS_PIPE: bool = true;

    fn receive(&mut self, message: &[u8], turn: &mut Turn<'_>) -> Verdict {
        let verdict = self.handle(message, turn);
        let mut state = self.shared.lock();
        match verdict {
            Verdict::Good => state.counters.messages += 1,
            Verdict::Bad => state.counters.bad_messages += 1,
        }
        verdict
    }

    fn malformed(&mut self) {
        self.shared.lock().counters.bad_messages += 1;
    }

    fn unsolicited(&mut self, _now: u64) -> Option<Vec<u8>> {
        let mut state = self.shared.lock();
        if !self.has_situation || !std::mem::take(&mut state.features_due) {
            return None;
        }
        let features = if state.viewers > 0 {
            Features::all()
        } else {
            Features::empty()
        };
        if features.contains(Features::DIRT) && !state.features.contains(Features::DIRT) {
            // Whether the guest reports again shows when it does.
            state.catches_up = std::mem::take(&mut state.has_dirt);
        }
        state.features = features;
        Some(emitted(&HostMessage::FeatureChange {
            features: state.features,
            edid: None,
        }))
    }

    fn deadline(&mut self, _now: u64) -> Option<u64> {
        None
    }
}

impl Drop for VideoEnd {
    fn drop(&mut self) {
        self.reset();
        let mut state = self.shared.lock();
        state.is_open = false;
        state.waker = None;
    }
}
