//! A panic is printed and powers the machine off.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, Ordering};

use guest_image::boot_info::STATUS_PANIC;

use super::{power, serial};

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn on_panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // A panic while printing a panic must not recurse.
    if !PANICKING.swap(true, Ordering::Relaxed) {
        let _ = writeln!(serial::unlocked_console(), "\n{info}");
    }
    power::off(STATUS_PANIC)
}
