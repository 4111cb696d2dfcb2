//! The heap: all RAM above the image. Pages for the host come from it too.

use spin::mutex::SpinMutex;
use talc::TalcLock;
use talc::source::Manual;

#[global_allocator]
static HEAP: TalcLock<SpinMutex<()>, Manual> = TalcLock::new(Manual);

unsafe extern "C" {
    /// First byte after the image, from the linker script.
    static IMAGE_END: u8;
}

/// The RAM above the image cannot hold a heap.
pub(super) struct TooLittleMemory;

/// Gives the RAM from the end of the image to `ram_size` to the heap.
///
/// # Safety
/// That memory must be mapped RAM which nothing else uses. To be called once.
pub(super) unsafe fn initialise(ram_size: u64) -> Result<(), TooLittleMemory> {
    let start = (&raw const IMAGE_END).cast_mut();
    let size = (ram_size as usize)
        .checked_sub(start as usize)
        .ok_or(TooLittleMemory)?;
    // SAFETY: the caller vouches for the range; the heap is new, and `Manual` allows claims.
    let heap = unsafe { HEAP.lock().claim(start, size) };
    heap.map(|_| ()).ok_or(TooLittleMemory)
}
