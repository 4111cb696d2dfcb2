//! The host's screen, keyboard and mouse against any packets from the guest.

use std::sync::Arc;

use host_sim::display::rectangle::Rectangle;
use host_sim::display::scancode::{Prefix, Scancode};
use host_sim::display::screen::Screen;
use host_sim::memory::{GuestMemory, PAGE_SIZE};
use host_sim::partition::device_memory::{DeviceMemoryMapper, RecordingMapper};
use host_sim::vmbus::vsp::Vsp;
use host_sim::vsp::keyboard::{Keyboard, KeyboardHandle};
use host_sim::vsp::mouse::{Mouse, MouseHandle};
use host_sim::vsp::video::{ProtocolVersion, Video, VideoHandle, VideoOptions};
use vmbus_core::packet::{IncomingKind, OutgoingKind, OutgoingPacket};
use vmbus_core::pipe;

use crate::channel::Channel;
use crate::input::Input;

/// Steps.
pub(crate) mod op {
    pub(crate) const FRAME: u8 = 0;
    pub(crate) const RAW: u8 = 1;
    pub(crate) const WORK: u8 = 2;
    pub(crate) const OPERATE: u8 = 3;
    pub(crate) const FORGE: u8 = 4;
    pub(crate) const REOPEN: u8 = 5;
    pub(crate) const COUNT: u8 = 6;
}

/// Devices, by the first byte.
pub(crate) mod device {
    pub(crate) const VIDEO: u8 = 0;
    pub(crate) const KEYBOARD: u8 = 1;
    pub(crate) const MOUSE: u8 = 2;
    pub(crate) const OLD_VIDEO: u8 = 3;
    pub(crate) const COUNT: u8 = 4;
}

/// First address of the window for video RAM.
pub(crate) const WINDOW: u64 = 0xF800_0000;
/// Pages of each ring, control page included.
const RING_PAGES: u64 = 5;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % device::COUNT {
        device::KEYBOARD => {
            let (device, handle) = Keyboard::new();
            End::new(device, false).run(&mut input, |input, _| type_keys(&handle, input));
        }
        device::MOUSE => {
            let (device, handle) = Mouse::new();
            End::new(device, true).run(&mut input, |input, _| point(&handle, input));
        }
        kind => {
            let options = if kind == device::OLD_VIDEO {
                VideoOptions {
                    newest: ProtocolVersion::V3_3,
                    oldest: ProtocolVersion::V3_0,
                    ..VideoOptions::with_vram(2)
                }
            } else {
                VideoOptions::with_vram(2)
            };
            let ram = std::iter::once(0..2 * RING_PAGES * PAGE_SIZE).collect();
            let window = std::iter::once(WINDOW..WINDOW + (8 << 20)).collect();
            let mapper = Arc::new(RecordingMapper::new(window, ram));
            let share = Arc::clone(&mapper) as Arc<dyn DeviceMemoryMapper>;
            let (device, handle) = Video::new(options, share).expect("sound options");
            End::new(device, true).run(&mut input, |input, is_alive| {
                look(&handle, input, is_alive);
            });
            assert!(handle.mode().is_none(), "closed, and still shown");
            // Nothing of a closed channel stays mapped.
            assert!(!mapper.guest_read(WINDOW, &mut [0]));
        }
    }
}

fn type_keys(handle: &KeyboardHandle, input: &mut Input<'_>) {
    let prefix = input.choose(&[Prefix::None, Prefix::E0, Prefix::E1]);
    let code = input.u8();
    if let Some(key) = Scancode::new(code, prefix) {
        let _ = handle.key(key, input.flag());
    } else if code == 0 {
        handle.release_all();
        assert_eq!(handle.status().held, 0);
    } else {
        let _ = handle.type_text(&String::from_utf8_lossy(input.bytes()));
    }
    let status = handle.status();
    assert!(status.is_ready || status.waiting == 0);
    assert!(status.waiting <= 256 + 16_384);
}

fn point(handle: &MouseHandle, input: &mut Input<'_>) {
    let _ = handle.move_to(input.u16(), input.u16());
    let _ = handle.wheel(input.u16() as i16);
    let status = handle.status();
    assert!(status.x <= 32767 && status.y <= 32767);
}

fn look(handle: &VideoHandle, input: &mut Input<'_>, is_alive: bool) {
    match input.below(4) {
        0 => handle.attach(),
        1 => handle.detach(),
        2 => {
            if let Some(mode) = handle.mode() {
                assert!(is_alive, "closed, and still shown");
                // The last row is the one that may not be there.
                let row = Rectangle::new(0, mode.height - 1, mode.width, mode.height);
                let mut pixels = Vec::new();
                handle.read(row, &mut pixels).expect("within the picture");
                assert_eq!(pixels.len() as u32, mode.width);
            }
        }
        _ => {
            let all = handle.mode().map(|mode| mode.rectangle());
            for rectangle in handle.damage_since(input.u64()).rectangles {
                let part = Rectangle::new(0, 0, rectangle.width().min(9), 1);
                let _ = handle.read(part, &mut Vec::new());
                assert!(all.is_some() || rectangle.area() > 0);
            }
            if let Some(shape) = handle.pointer() {
                assert_eq!(shape.pixels.len() as u32, shape.width * shape.height);
                assert!(shape.pixels.len() <= 96 * 96);
            }
        }
    }
}

/// A device and its guest.
struct End<D> {
    memory: GuestMemory,
    device: D,
    channel: Channel,
    is_pipe: bool,
    now: u64,
}

impl<D: Vsp> End<D> {
    fn new(mut device: D, is_pipe: bool) -> Self {
        let memory = GuestMemory::new(2 * RING_PAGES * PAGE_SIZE).expect("a small mapping");
        Self {
            channel: Channel::open(&memory, 0, RING_PAGES, &mut device, 0),
            memory,
            device,
            is_pipe,
            now: 1,
        }
    }

    fn run(&mut self, input: &mut Input<'_>, mut operate: impl FnMut(&mut Input<'_>, bool)) {
        while let Some(step) = input.step() {
            match step % op::COUNT {
                op::FRAME => {
                    let message = input.long_bytes();
                    let mut payload = Vec::new();
                    if self.is_pipe {
                        let length = message.len().min(pipe::MAXIMUM_LENGTH);
                        payload.extend(pipe::emit(length).expect("not longer than the most"));
                    }
                    payload.extend(message);
                    self.send(OutgoingKind::InBand, false, &payload);
                }
                op::RAW => {
                    let kind = if input.flag() {
                        OutgoingKind::Completion
                    } else {
                        OutgoingKind::InBand
                    };
                    let completion = input.flag();
                    self.send(kind, completion, input.long_bytes());
                }
                op::WORK => {
                    self.now += u64::from(input.u32());
                    self.work();
                }
                op::OPERATE => operate(input, self.channel.is_alive()),
                op::FORGE => self.channel.forge(input.u32(), input.bytes()),
                _ => {
                    // A channel is closed before it is opened again, as the server sees to.
                    self.channel.close();
                    self.channel = Channel::open(&self.memory, 0, RING_PAGES, &mut self.device, 0);
                }
            }
        }
        self.channel.close();
    }

    fn send(&mut self, kind: OutgoingKind<'_>, completion_requested: bool, payload: &[u8]) {
        self.channel.send(&OutgoingPacket {
            transaction_id: 7,
            completion_requested,
            kind,
            payload: &[payload],
        });
    }

    fn work(&mut self) {
        self.channel.work(self.now);
        let (is_pipe, is_forged) = (self.is_pipe, self.channel.is_forged());
        self.channel.receive(|packet| {
            // Whatever the guest says, what the host says is well formed.
            let is_message = matches!(packet.kind, IncomingKind::InBand);
            if is_message && is_pipe && !is_forged {
                assert!(pipe::parse(packet.payload).is_ok());
            }
        });
    }
}
