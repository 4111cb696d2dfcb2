//! Overlay pages: hypervisor pages that lie over guest RAM while they are enabled.
//!
//! The TLFS overlays hide the RAM beneath them and keep their own contents when they are moved or disabled. Here the
//! page is guest RAM at the programmed address, and the same view is made by copying: what was beneath is saved when
//! the overlay arrives and put back when it leaves.

use crate::memory::{GuestMemory, NotRam, PAGE_SIZE};

const PAGE_BYTES: usize = PAGE_SIZE as usize;

type PageBytes = [u8; PAGE_BYTES];

/// One overlay page of a partition or of a virtual processor.
#[derive(Debug)]
pub(super) struct Overlay {
    /// The overlay's own bytes; while it is placed, the current ones are in guest memory.
    contents: Box<PageBytes>,
    placed: Option<Placed>,
}

#[derive(Debug)]
struct Placed {
    page_frame: u64,
    beneath: Box<PageBytes>,
}

impl Overlay {
    /// An overlay that is nowhere yet and holds zeroes.
    pub(super) fn new() -> Self {
        Self {
            contents: Box::new([0; PAGE_BYTES]),
            placed: None,
        }
    }

    /// The guest page it lies over, if any.
    pub(super) fn page_frame(&self) -> Option<u64> {
        self.placed.as_ref().map(|placed| placed.page_frame)
    }

    /// Lays the overlay over a page, from wherever it was before.
    ///
    /// # Errors
    /// [`NotRam`] if the page is not RAM; nothing has changed then.
    pub(super) fn place(&mut self, memory: &GuestMemory, page_frame: u64) -> Result<(), NotRam> {
        self.place_as(memory, page_frame, |_| {})
    }

    /// Lays the overlay over a page with zeroes instead of what it held. Does nothing if it lies there already.
    ///
    /// # Errors
    /// [`NotRam`] if the page is not RAM; nothing has changed then.
    pub(super) fn place_cleared(
        &mut self,
        memory: &GuestMemory,
        page_frame: u64,
    ) -> Result<(), NotRam> {
        self.place_as(memory, page_frame, |contents| contents.fill(0))
    }

    /// Lays the overlay over a page with these contents. Does nothing if it lies there already.
    ///
    /// # Errors
    /// [`NotRam`] if the page is not RAM; nothing has changed then.
    pub(super) fn place_with(
        &mut self,
        memory: &GuestMemory,
        page_frame: u64,
        bytes: &PageBytes,
    ) -> Result<(), NotRam> {
        self.place_as(memory, page_frame, |contents| {
            contents.copy_from_slice(bytes);
        })
    }

    fn place_as(
        &mut self,
        memory: &GuestMemory,
        page_frame: u64,
        change: impl FnOnce(&mut PageBytes),
    ) -> Result<(), NotRam> {
        if self.page_frame() == Some(page_frame) {
            return Ok(());
        }
        if !memory.is_ram_page(page_frame) {
            return Err(NotRam {
                address: page_frame.saturating_mul(PAGE_SIZE),
                length: PAGE_SIZE,
            });
        }
        self.remove(memory);
        change(&mut self.contents);
        let address = page_frame * PAGE_SIZE;
        let mut beneath = Box::new([0; PAGE_BYTES]);
        memory.read(address, beneath.as_mut_slice())?;
        memory.write(address, self.contents.as_slice())?;
        self.placed = Some(Placed {
            page_frame,
            beneath,
        });
        Ok(())
    }

    /// Takes the overlay away and uncovers the RAM beneath. Its contents are kept for the next place.
    pub(super) fn remove(&mut self, memory: &GuestMemory) {
        let Some(placed) = self.placed.take() else {
            return;
        };
        let address = placed.page_frame * PAGE_SIZE;
        let in_ram = "a placed overlay lies in RAM, and RAM never goes away";
        memory
            .read(address, self.contents.as_mut_slice())
            .expect(in_ram);
        memory
            .write(address, placed.beneath.as_slice())
            .expect(in_ram);
    }

    /// Takes the overlay away and forgets its contents, as a reset does.
    pub(super) fn reset(&mut self, memory: &GuestMemory) {
        self.remove(memory);
        self.contents.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_bytes(memory: &GuestMemory, frame: u64) -> [u8; 2] {
        let mut bytes = [0; 2];
        memory.read(frame * PAGE_SIZE, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn contents_move_and_what_was_beneath_comes_back() {
        let memory = GuestMemory::new(4 * PAGE_SIZE).unwrap();
        memory.write(PAGE_SIZE, b"A1").unwrap();
        memory.write(2 * PAGE_SIZE, b"B2").unwrap();
        let mut overlay = Overlay::new();
        overlay.place(&memory, 1).unwrap();
        assert_eq!(first_bytes(&memory, 1), [0, 0]);
        memory.write(PAGE_SIZE, b"ov").unwrap();
        overlay.place(&memory, 2).unwrap();
        assert_eq!(first_bytes(&memory, 1), *b"A1");
        assert_eq!(first_bytes(&memory, 2), *b"ov");
        assert!(overlay.place(&memory, 4).is_err());
        assert!(overlay.place(&memory, u64::MAX / PAGE_SIZE).is_err());
        assert_eq!(overlay.page_frame(), Some(2));
        overlay.remove(&memory);
        assert_eq!(first_bytes(&memory, 2), *b"B2");
        overlay.place(&memory, 2).unwrap();
        assert_eq!(first_bytes(&memory, 2), *b"ov");
        overlay.reset(&memory);
        overlay.place(&memory, 1).unwrap();
        assert_eq!(first_bytes(&memory, 1), [0, 0]);
    }
}
