//! What each processor knows of itself, found through its GS base.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use guest_image::boot_info::MOST_PROCESSORS;

use super::smp::Mailbox;

/// One processor's own data. Others may look at it; all of it is atomic or locked.
#[repr(C, align(64))]
pub(super) struct PerCpu {
    /// First, because it is read at offset 0 from GS.
    index: AtomicUsize,
    online: AtomicBool,
    /// An interrupt has arrived since the processor last looked.
    pub(super) interrupted: AtomicBool,
    /// The idle timer is running and has not fired yet.
    pub(super) timer_running: AtomicBool,
    /// Local APIC identifier, valid once online.
    pub(super) apic_id: AtomicU32,
    /// SynIC interrupts taken.
    pub(super) synic_interrupts: AtomicU64,
    /// Work from other processors.
    pub(super) mailbox: Mailbox,
}

static PROCESSORS: [PerCpu; MOST_PROCESSORS as usize] = [const {
    PerCpu {
        index: AtomicUsize::new(0),
        online: AtomicBool::new(false),
        interrupted: AtomicBool::new(false),
        timer_running: AtomicBool::new(false),
        apic_id: AtomicU32::new(0),
        synic_interrupts: AtomicU64::new(0),
        mailbox: Mailbox::new(),
    }
}; MOST_PROCESSORS as usize];

impl PerCpu {
    /// Which processor this is.
    pub(super) fn index(&self) -> u32 {
        self.index.load(Ordering::Relaxed) as u32
    }

    /// Tells the others that this processor takes interrupts and work.
    pub(super) fn set_online(&self) {
        self.online.store(true, Ordering::Release);
    }

    /// Whether the processor takes interrupts and work.
    pub(super) fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }
}

/// A processor by its index.
pub(super) fn get(index: u32) -> Option<&'static PerCpu> {
    PROCESSORS.get(index as usize)
}

/// Makes [`current`] work on this processor.
pub(super) fn bind(index: usize) {
    let own = &PROCESSORS[index];
    own.index.store(index, Ordering::Relaxed);
    // SAFETY: the GS base is used by `current` alone, which wants exactly this address.
    unsafe { x86::msr::wrmsr(x86::msr::IA32_GS_BASE, core::ptr::from_ref(own) as u64) };
}

/// The processor that runs the caller.
pub(super) fn current() -> &'static PerCpu {
    let index: usize;
    // SAFETY: `bind` has pointed GS at this processor's entry, whose first field is its index; entry code runs it
    // before anything that calls us.
    unsafe { asm!("mov {}, gs:[0]", out(reg) index, options(nostack, preserves_flags, readonly)) };
    &PROCESSORS[index]
}
