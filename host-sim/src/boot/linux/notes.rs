//! What an ELF kernel says about itself in its program headers and notes. Any bytes are survived.

const PROGRAM_HEADERS_AT: usize = 32;
const PROGRAM_HEADER_BYTES_AT: usize = 54;
const PROGRAM_HEADER_COUNT_AT: usize = 56;
const SEGMENT_LOAD: u64 = 1;
const SEGMENT_NOTE: u64 = 4;

fn number<const N: usize>(image: &[u8], at: usize) -> Option<u64> {
    let mut wide = [0; 8];
    wide.get_mut(..N)?
        .copy_from_slice(image.get(at..at.checked_add(N)?)?);
    Some(u64::from_le_bytes(wide))
}

/// Whether an ELF64 image has a note whose owner is Linux: then it can be entered by Linux's 64-bit boot protocol.
pub(super) fn is_linux(image: &[u8]) -> bool {
    segments(image).any(|segment| owners(segment).any(|owner| owner == b"Linux\0"))
}

/// Where the memory ends that an ELF64 image takes when it is loaded, with what is not in the file; at the end of all
/// addresses if it claims more than there are. 0 without anything to load.
pub(super) fn memory_end(image: &[u8]) -> u64 {
    let end = |at: usize| {
        let start = number::<8>(image, at.checked_add(24)?)?;
        let size = number::<8>(image, at.checked_add(40)?)?;
        Some(start.saturating_add(size))
    };
    headers(image, SEGMENT_LOAD)
        .filter_map(end)
        .max()
        .unwrap_or(0)
}

/// Where the program headers of a type are.
fn headers(image: &[u8], segment_type: u64) -> impl Iterator<Item = usize> {
    let header = move |index: u64| {
        let size = number::<2>(image, PROGRAM_HEADER_BYTES_AT)?;
        let table = number::<8>(image, PROGRAM_HEADERS_AT)?;
        let at = usize::try_from(table.checked_add(index * size)?).ok()?;
        (number::<4>(image, at)? == segment_type).then_some(at)
    };
    let count = number::<2>(image, PROGRAM_HEADER_COUNT_AT).unwrap_or(0);
    (0..count).filter_map(header)
}

/// The segments with notes.
fn segments(image: &[u8]) -> impl Iterator<Item = &[u8]> {
    let segment = |at: usize| {
        let start = usize::try_from(number::<8>(image, at.checked_add(8)?)?).ok()?;
        let length = usize::try_from(number::<8>(image, at.checked_add(32)?)?).ok()?;
        image.get(start..start.checked_add(length)?)
    };
    headers(image, SEGMENT_NOTE).filter_map(segment)
}

/// The owners of the notes in a segment.
fn owners(mut segment: &[u8]) -> impl Iterator<Item = &[u8]> {
    const HEADER_BYTES: usize = 12;
    std::iter::from_fn(move || {
        let padded = |at| {
            usize::try_from(number::<4>(segment, at)?)
                .ok()?
                .checked_next_multiple_of(4)
        };
        let (name_room, description_room) = (padded(0)?, padded(4)?);
        let name_bytes = number::<4>(segment, 0)? as usize;
        let name = segment.get(HEADER_BYTES..HEADER_BYTES.checked_add(name_bytes)?)?;
        let end = HEADER_BYTES
            .checked_add(name_room)?
            .checked_add(description_room)?;
        segment = segment.get(end..).unwrap_or(&[]);
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn note(owner: &[u8], description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for word in [owner.len(), description.len(), 0x100] {
            note.extend_from_slice(&(word as u32).to_le_bytes());
        }
        for part in [owner, description] {
            note.extend_from_slice(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    fn image(notes: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 120];
        let mut put =
            |at: usize, value: u64| image[at..at + 8].copy_from_slice(&value.to_le_bytes());
        put(PROGRAM_HEADERS_AT, 64);
        put(PROGRAM_HEADER_BYTES_AT, 56 | 1 << 16);
        put(64, SEGMENT_NOTE);
        put(72, 120);
        put(96, notes.len() as u64);
        image.extend_from_slice(notes);
        image
    }

    #[test]
    fn linux_is_recognised_among_other_notes() {
        let mut notes = note(b"Xen\0", &[1, 2, 3, 4, 5]);
        assert!(!is_linux(&image(&notes)));
        notes.extend(note(b"Linux\0", b"salt"));
        assert!(is_linux(&image(&notes)));
        let cut = notes.len() - 12;
        assert!(!is_linux(&image(&notes[..cut])));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            changes in prop::collection::vec((0..120_usize, any::<u8>()), 0..8),
        ) {
            is_linux(&bytes);
            let mut image = image(&bytes);
            for (at, byte) in changes {
                image[at] = byte;
            }
            is_linux(&image);
        }
    }
}
