//! Both ends' parsers of video, keyboard and mouse messages.

use vsc_input::wire::{keyboard, mouse};
use vsc_video::wire::{GuestMessage, HostMessage};

use crate::input::Input;

/// Kinds of messages.
pub(crate) mod op {
    pub(crate) const VIDEO: u8 = 0;
    pub(crate) const KEYBOARD: u8 = 1;
    pub(crate) const MOUSE: u8 = 2;
    pub(crate) const COUNT: u8 = 3;
}

/// What parses is emitted as bytes that parse to the same.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    while let Some(step) = input.step() {
        let message = input.long_bytes();
        match step % op::COUNT {
            op::VIDEO => video(message),
            op::KEYBOARD => keyboard(message),
            _ => mouse(message),
        }
    }
}

fn video(bytes: &[u8]) {
    let mut again = Vec::new();
    match GuestMessage::parse(bytes) {
        Ok(message) => {
            message.emit(&mut again);
            assert_eq!(GuestMessage::parse(&again), Ok(message));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    again.clear();
    match HostMessage::parse(bytes) {
        Ok(message) => {
            message.emit(&mut again);
            assert_eq!(HostMessage::parse(&again), Ok(message));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn keyboard(bytes: &[u8]) {
    if let Ok(message) = keyboard::GuestMessage::parse(bytes) {
        assert_eq!(keyboard::GuestMessage::parse(&message.emit()), Ok(message));
    }
    match keyboard::HostMessage::parse(bytes) {
        Ok(message) => {
            let mut again = Vec::new();
            message.emit(&mut again);
            assert_eq!(keyboard::HostMessage::parse(&again), Ok(message));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn mouse(bytes: &[u8]) {
    let mut again = Vec::new();
    if let Ok(message) = mouse::GuestMessage::parse(bytes) {
        message.emit(&mut again);
        assert_eq!(mouse::GuestMessage::parse(&again), Ok(message));
    }
    again.clear();
    match mouse::HostMessage::parse(bytes) {
        Ok(message) => {
            if let mouse::HostMessage::DeviceInfo(info) = &message {
                let corrected = info.corrected_descriptor();
                assert_eq!(corrected.len(), info.report_descriptor.len());
            }
            message.emit(&mut again);
            assert_eq!(mouse::HostMessage::parse(&again), Ok(message));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
