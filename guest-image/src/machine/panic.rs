//! A panic is printed, reported to the hypervisor, and powers the machine off.

use core::cell::UnsafeCell;
use core::fmt;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, Ordering};

use guest_image::boot_info::STATUS_PANIC;
use hypercall::cpuid::{Discovery, Features};

use super::processor::ThisProcessor;
use super::{power, serial, user_mode};

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn on_panic(info: &core::panic::PanicInfo<'_>) -> ! {
    // Ports and MSRs need the privileges that the panicking code may lack.
    user_mode::regain();
    // A second panic, here or on another processor, must not disturb the first.
    if !PANICKING.swap(true, Ordering::Relaxed) {
        let _ = writeln!(serial::unlocked_console(), "\n{info}");
        report_to_hypervisor(u64::from(STATUS_PANIC), format_args!("{info}"));
    }
    power::off(STATUS_PANIC)
}

/// Notifies the hypervisor, if it wants to know, of the guest's end.
pub(super) fn report_to_hypervisor(code: u64, text: fmt::Arguments<'_>) {
    static TEXT: Text = Text(UnsafeCell::new([0; TEXT_BYTES]));
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let processor = ThisProcessor::new();
    let wanted = Discovery::read(&processor)
        .is_ok_and(|discovery| discovery.features.contains(Features::CRASH));
    if !wanted || TAKEN.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: `TAKEN` lets one caller through, ever: this is the only reference to the text.
    let buffer = unsafe { &mut *TEXT.0.get() };
    let mut writer = Writer { buffer, length: 0 };
    let _ = writer.write_fmt(text);
    let (address, length) = (writer.buffer.as_ptr() as u64, writer.length as u64);
    // SAFETY: the text is in identity-mapped memory and stays as it is.
    let _ = unsafe { hypercall::crash::report_message(&processor, [code, 0, 0], address, length) };
}

const TEXT_BYTES: usize = 1024;

struct Text(UnsafeCell<[u8; TEXT_BYTES]>);

// SAFETY: see where it is written.
unsafe impl Sync for Text {}

/// Writes what fits.
struct Writer<'a> {
    buffer: &'a mut [u8; TEXT_BYTES],
    length: usize,
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.buffer[self.length..];
        let length = room.len().min(text.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        Ok(())
    }
}
