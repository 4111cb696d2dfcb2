//! Pages of guest memory seen as the structures of atomics that guest and hypervisor share.

use hypercall::PAGE_SIZE;
use hypercall::synic::{EventFlagsPage, MessagePage};
use hypercall::time::ReferenceTscPage;

use crate::memory::{GuestMemory, NotRam};

/// A page that both ends access at the same time.
///
/// # Safety
/// The type is one page in size, needs no more than a page's alignment, consists of atomics only, and is valid whatever
/// its bytes are.
pub(super) unsafe trait SharedPage {}

// SAFETY: 4096 bytes of atomic integers (asserted where they are defined), which may have every value.
unsafe impl SharedPage for MessagePage {}
// SAFETY: as above.
unsafe impl SharedPage for EventFlagsPage {}
// SAFETY: as above.
unsafe impl SharedPage for ReferenceTscPage {}

/// The RAM page with this frame number as a shared structure.
///
/// # Errors
/// [`NotRam`] if the frame is not RAM.
pub(super) fn view<T: SharedPage>(memory: &GuestMemory, page_frame: u64) -> Result<&T, NotRam> {
    const { assert!(size_of::<T>() == PAGE_SIZE && align_of::<T>() <= PAGE_SIZE) };
    let page = memory.page_pointer(page_frame)?.cast::<T>();
    // SAFETY: `page_pointer` has checked that the page is RAM, which stays mapped as long as `memory` lives. Guest RAM is
    // mapped at page granularity, so the pointer is aligned. The structure is made of atomics, any bytes are valid in it,
    // and guest memory is only ever touched through atomics, volatile copies or the kernel.
    Ok(unsafe { page.as_ref() })
}
