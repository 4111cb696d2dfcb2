//! A guest that drives its screen.

use std::sync::Arc;

use host_sim::partition::device_memory::{DeviceMemoryMapper, RecordingMapper};
use host_sim::vsp::video::{ProtocolVersion, Video, VideoHandle, VideoOptions};
use vsc_video::wire::{Acceptance, GuestMessage, HostMessage, Situation, Version, VramLocation};

use super::{Guest, WINDOW, mapper};

pub(crate) const PLACE: u64 = WINDOW.start;

pub(crate) struct Bench {
    pub(crate) device: Video,
    pub(crate) handle: VideoHandle,
    pub(crate) guest: Guest,
    pub(crate) mapper: Arc<RecordingMapper>,
}

pub(crate) fn emitted(message: &GuestMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    bytes
}

pub(crate) fn location(address: Option<u64>) -> GuestMessage<'static> {
    GuestMessage::VramLocation(VramLocation {
        user_context: 0x1122_3344_5566_7788,
        address,
    })
}

pub(crate) const VGA: Situation = Situation {
    user_context: 42,
    video_output_count: 1,
    active: 1,
    vram_offset: 0,
    depth_bits: 32,
    width: 640,
    height: 480,
    pitch: 2560,
};

impl Bench {
    pub(crate) fn new(options: VideoOptions) -> Self {
        let mapper = mapper();
        let (mut device, handle) =
            Video::new(options, Arc::clone(&mapper) as Arc<dyn DeviceMemoryMapper>).unwrap();
        let guest = Guest::open(&mut device, 8);
        Self {
            device,
            handle,
            guest,
            mapper,
        }
    }

    /// A guest that has negotiated a version, placed its video RAM and set a mode.
    pub(crate) fn shown(
        options: VideoOptions,
        version: ProtocolVersion,
        situation: Situation,
    ) -> Self {
        let mut bench = Self::new(options);
        bench.start(version, situation);
        bench
    }

    pub(crate) fn start(&mut self, version: ProtocolVersion, situation: Situation) {
        assert!(self.negotiate(version.wire()));
        assert!(self.place(Some(PLACE)));
        let answers = self.say(&GuestMessage::SituationUpdate(situation));
        assert_eq!(answers.len(), 2, "acknowledgement and features");
    }

    pub(crate) fn say(&mut self, message: &GuestMessage<'_>) -> Vec<Vec<u8>> {
        self.guest.send(&emitted(message));
        self.guest.answers()
    }

    pub(crate) fn negotiate(&mut self, version: Version) -> bool {
        let answers = self.say(&GuestMessage::VersionRequest(version));
        let [answer] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        assert_eq!(answer.len(), 14);
        match HostMessage::parse(answer).unwrap() {
            HostMessage::VersionResponse {
                version: echo,
                acceptance,
                video_outputs: 1,
            } => {
                assert_eq!(echo, version);
                // Firmware accepts no 1.
                assert_ne!(acceptance, Acceptance::ACCEPTED);
                acceptance == Acceptance::ACCEPTED_WITH_VERSION
            }
            other => panic!("{other:?}"),
        }
    }

    /// Places video RAM; whether the acknowledgement says so.
    pub(crate) fn place(&mut self, address: Option<u64>) -> bool {
        let answers = self.say(&location(address));
        match HostMessage::parse(&answers[0]).unwrap() {
            HostMessage::VramLocationAck { user_context } => user_context == 0x1122_3344_5566_7788,
            other => panic!("{other:?}"),
        }
    }

    /// Sets a mode; whether it is the one shown now. It is acknowledged in any case.
    pub(crate) fn set(&mut self, situation: Situation) -> bool {
        let answers = self.say(&GuestMessage::SituationUpdate(situation));
        let acks = answers
            .iter()
            .filter(|answer| {
                let user_context = situation.user_context;
                HostMessage::parse(answer) == Ok(HostMessage::SituationUpdateAck { user_context })
            })
            .count();
        assert_eq!(acks, 1);
        self.handle.mode().is_some_and(|mode| {
            (mode.width, mode.height, mode.pitch)
                == (situation.width, situation.height, situation.pitch)
        })
    }
}
