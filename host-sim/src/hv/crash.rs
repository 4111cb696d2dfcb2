//! Crash notification: what a guest tells about its end.

use hypercall::crash::{CRASH_MESSAGE_MAX, CrashControl};

use crate::memory::GuestMemory;

/// What the guest can tell: parameters and a message.
pub(super) const SUPPORTED: CrashControl = CrashControl::NOTIFY.union(CrashControl::MESSAGE);

/// A guest's notification that it has crashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashReport {
    /// The virtual processor that reported it.
    pub vp: u32,
    /// Identity of the guest at that time.
    pub guest_os_id: u64,
    /// The five parameters, free-form. With a message, parameters 3 and 4 are its address and length.
    pub parameters: [u64; 5],
    /// What the guest wrote to the control register.
    pub control: CrashControl,
    /// The message, if the guest gave one.
    pub message: Option<CrashMessage>,
}

/// The text that comes with a crash notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrashMessage {
    /// The text, cut at [`CRASH_MESSAGE_MAX`] bytes and at the first zero byte. Bytes that are not printable ASCII are
    /// shown as escapes; line breaks are kept.
    Text(String),
    /// Address and length do not name guest memory.
    NotRam {
        /// Guest-physical address that the guest gave.
        address: u64,
        /// Length in bytes that the guest gave.
        length: u64,
    },
}

impl CrashMessage {
    /// Reads a message from where the guest says it is.
    pub(super) fn read(memory: &GuestMemory, address: u64, length: u64) -> Self {
        let mut bytes = vec![0; length.min(CRASH_MESSAGE_MAX) as usize];
        if memory.read(address, &mut bytes).is_err() {
            return Self::NotRam { address, length };
        }
        let end = bytes
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(bytes.len());
        bytes.truncate(end);
        Self::Text(printable(&bytes))
    }
}

/// The text with everything escaped that could play tricks on a terminal or a log.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\n' | b' '..=b'~' => text.push(char::from(byte)),
            _ => text.extend(byte.escape_ascii().map(char::from)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::PAGE_SIZE;

    #[test]
    fn a_message_is_cut_and_made_harmless() {
        let memory = GuestMemory::new(4 * PAGE_SIZE).unwrap();
        memory.write(16, b"oops\n\x1b[31m\xff\0secret").unwrap();
        assert_eq!(
            CrashMessage::read(&memory, 16, 20),
            CrashMessage::Text("oops\n\\x1b[31m\\xff".into())
        );
        memory.write(PAGE_SIZE, &[b'x'; 8192]).unwrap();
        let CrashMessage::Text(long) = CrashMessage::read(&memory, PAGE_SIZE, u64::MAX) else {
            panic!("not a text");
        };
        assert_eq!(long.len() as u64, CRASH_MESSAGE_MAX);
    }

    #[test]
    fn a_message_outside_memory_is_reported_as_such() {
        let memory = GuestMemory::new(PAGE_SIZE).unwrap();
        for (address, length) in [
            (PAGE_SIZE, 1),
            (1, 4096),
            (u64::MAX, 2),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(
                CrashMessage::read(&memory, address, length),
                CrashMessage::NotRam { address, length }
            );
        }
    }
}
