//! Ending the machine.

use guest_image::boot_info::POWER_OFF_PORT;

/// Ends the machine with a status: 0 means success.
pub(super) fn off(status: u8) -> ! {
    loop {
        // SAFETY: the write does not return on our host; elsewhere the port does nothing that matters, and we sleep
        // with interrupts off.
        unsafe {
            x86::io::outb(POWER_OFF_PORT, status);
            x86::irq::disable();
            x86::halt();
        }
    }
}
