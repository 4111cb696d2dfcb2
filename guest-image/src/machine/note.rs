//! The ELF note that tells a host which program is inside the image.

use guest_image::boot_info::{NOTE_NAME, NOTE_TYPE, PROGRAM_NAME, PROGRAM_VERSION};

const NAME_BYTES: usize = (NOTE_NAME.len() + 1).next_multiple_of(4);
const TEXT_BYTES: usize = PROGRAM_NAME.len() + 1 + PROGRAM_VERSION.len();
const DESCRIPTOR_BYTES: usize = TEXT_BYTES.next_multiple_of(4);

#[repr(C, align(4))]
struct Note {
    name_size: u32,
    descriptor_size: u32,
    kind: u32,
    name: [u8; NAME_BYTES],
    descriptor: [u8; DESCRIPTOR_BYTES],
}

#[used]
#[unsafe(link_section = ".note.viridian")]
static NOTE: Note = Note {
    name_size: NOTE_NAME.len() as u32 + 1,
    descriptor_size: DESCRIPTOR_BYTES as u32,
    kind: NOTE_TYPE,
    name: joined(&[NOTE_NAME]),
    descriptor: joined(&[PROGRAM_NAME, " ", PROGRAM_VERSION]),
};

/// The texts one after the other, then zero bytes.
const fn joined<const N: usize>(texts: &[&str]) -> [u8; N] {
    let mut bytes = [0; N];
    let (mut at, mut text) = (0, 0);
    while text < texts.len() {
        let source = texts[text].as_bytes();
        let mut index = 0;
        while index < source.len() {
            bytes[at] = source[index];
            at += 1;
            index += 1;
        }
        text += 1;
    }
    bytes
}
