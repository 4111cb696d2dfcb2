//! The ELF loader: any file into a small guest.

use host_sim::boot::elf;
use host_sim::memory::GuestMemory;

/// The guest's RAM in bytes.
pub(crate) const RAM: u64 = 256 << 10;
/// Lowest address that an image may use.
pub(crate) const LOWEST: u64 = 0x1000;

pub(crate) fn run(bytes: &[u8]) {
    let Ok(image) = elf::parse(bytes) else {
        return;
    };
    let mut end = 0;
    for segment in &image.segments {
        assert!(segment.address >= end && segment.memory_size > 0);
        assert!(segment.data.len() as u64 <= segment.memory_size);
        end = segment.range().end;
    }
    assert_eq!(end, image.end());
    assert!(
        image
            .segments
            .iter()
            .any(|segment| segment.executable && segment.range().contains(&image.entry))
    );
    if let Some(program) = &image.program {
        assert!(
            program
                .to_string()
                .chars()
                .all(|c| c == ' ' || c.is_ascii_graphic())
        );
    }
    let fits = image.end() <= RAM && image.segments[0].address >= LOWEST;
    // Mapping memory takes longer than all the rest.
    if !fits && !bytes.len().is_multiple_of(8) {
        return;
    }
    let memory = GuestMemory::new(RAM).expect("a small mapping");
    let background = vec![0xA5; RAM as usize];
    memory.write(0, &background).expect("RAM");
    assert_eq!(image.load(&memory, LOWEST).is_ok(), fits);
    let mut expected = background;
    if fits {
        for segment in &image.segments {
            let range = segment.range();
            let place = &mut expected[range.start as usize..range.end as usize];
            place.fill(0);
            place[..segment.data.len()].copy_from_slice(segment.data);
        }
    }
    let mut loaded = vec![0; RAM as usize];
    memory.read(0, &mut loaded).expect("RAM");
    assert!(loaded == expected, "other memory than the image's");
}
