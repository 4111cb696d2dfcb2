//! A machine with one virtual processor and a scripted VMBus host. Guest physical addresses are addresses of
//! the test process.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use hypercall::call::{CallCode, CallResult, MessageType, PostMessage, SignalEvent, Status};
use hypercall::synic::{
    EventFlagsPage, MESSAGE_PENDING, MessagePage, SintIndex, Source, Synic, SynicPage, SynicPages,
};
use hypercall::{CpuidResult, MsrFault, Processor, msr};
use spin::{Mutex, MutexGuard};
use zerocopy::FromBytes;

use super::host::Host;
use crate::bus::BusProcessor;
use crate::platform::{Platform, Runtime, SharedPages};
use crate::protocol::{ChannelId, ContactTarget};

const PAGE: usize = 4096;
/// How long an idle time lasts, in units of 100 ns.
const IDLE_TIME: u64 = 10_000;

pub(super) fn pointer(frame: u64) -> NonNull<u8> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(
        frame as usize * PAGE,
    ))
    .unwrap()
}

/// The machine.
pub(super) struct Machine {
    host: Mutex<Host>,
    time: AtomicU64,
    /// Pages that are allocated.
    pub(super) allocated: AtomicUsize,
    msrs: Mutex<BTreeMap<u32, u64>>,
    messages: NonNull<u8>,
    event_flags: NonNull<u8>,
}

// SAFETY: the pages consist of atomics.
unsafe impl Send for Machine {}
// SAFETY: as above.
unsafe impl Sync for Machine {}

fn layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE, PAGE).unwrap()
}

fn zeroed(pages: usize) -> NonNull<u8> {
    // SAFETY: the size is not 0.
    let base = NonNull::new(unsafe { alloc_zeroed(layout(pages)) }).unwrap();
    base.as_ptr().expose_provenance();
    base
}

impl Machine {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            host: Mutex::new(Host::new()),
            time: AtomicU64::new(1),
            allocated: AtomicUsize::new(0),
            msrs: Mutex::new(BTreeMap::new()),
            messages: zeroed(1),
            event_flags: zeroed(1),
        })
    }

    pub(super) fn host(&self) -> MutexGuard<'_, Host> {
        self.host.lock()
    }

    pub(super) fn allocated(&self) -> usize {
        self.allocated.load(Ordering::SeqCst)
    }

    /// Starts the SynIC of the processor.
    pub(super) fn processor(self: &Arc<Self>, vp_index: u32) -> BusProcessor<Cpu> {
        let processor = Cpu {
            machine: self.clone(),
        };
        let page = |base: NonNull<u8>| SynicPage {
            base,
            page_frame: (base.addr().get() / PAGE) as u64,
        };
        let pages = SynicPages {
            messages: page(self.messages),
            event_flags: page(self.event_flags),
        };
        let source = Source {
            sint: SintIndex::VMBUS,
            vector: 0x40,
            auto_eoi: false,
            polling: false,
        };
        // SAFETY: the pages are the machine's and live as long as the processor; there are no interrupts.
        let synic = unsafe { Synic::enable(&processor, pages, source) }.unwrap();
        BusProcessor {
            vp_index,
            processor,
            synic: Arc::new(synic),
        }
    }

    /// The SynIC of another processor, which gets nothing. Its pages are never given back.
    pub(super) fn idle_synic(self: &Arc<Self>) -> Synic {
        let page = || {
            let base = zeroed(1);
            SynicPage {
                base,
                page_frame: (base.addr().get() / PAGE) as u64,
            }
        };
        let pages = SynicPages {
            messages: page(),
            event_flags: page(),
        };
        let source = Source {
            sint: SintIndex::VMBUS,
            vector: 0x40,
            auto_eoi: false,
            polling: false,
        };
        let processor = Cpu {
            machine: self.clone(),
        };
        // SAFETY: the pages are fresh and never freed; there are no interrupts.
        unsafe { Synic::enable(&processor, pages, source) }.unwrap()
    }

    /// Signals a channel by its event flag.
    pub(super) fn interrupt(&self, flag: u16) {
        // SAFETY: the page is the machine's and consists of atomics.
        let page = unsafe { self.event_flags.cast::<EventFlagsPage>().as_ref() };
        page.set(SintIndex::VMBUS, flag).unwrap();
    }

    /// Signals a channel by the interrupt page.
    pub(super) fn interrupt_by_page(&self, channel: ChannelId) {
        self.interrupt_page_word(channel, 0)
            .fetch_or(1 << (channel.0 % 32), Ordering::SeqCst);
        self.interrupt(0);
    }

    /// Whether the guest has set a channel's bit in its half of the interrupt page.
    pub(super) fn send_bit(&self, channel: ChannelId) -> bool {
        let word = self.interrupt_page_word(channel, 512);
        word.load(Ordering::SeqCst) >> (channel.0 % 32) & 1 != 0
    }

    fn interrupt_page_word(&self, channel: ChannelId, first: usize) -> &AtomicU32 {
        let host = self.host();
        let ContactTarget::InterruptPage(address) = host.contact.unwrap().target else {
            panic!("no interrupt page");
        };
        let base = pointer(address / PAGE as u64).cast::<AtomicU32>();
        // SAFETY: the page is the guest's, which the test keeps alive.
        unsafe { base.add(first + channel.0 as usize / 32).as_ref() }
    }

    /// The pending word of a group in the page that the guest writes.
    pub(super) fn monitor_pending(&self, group: usize) -> u32 {
        let address = self.host().contact.unwrap().monitor_pages.child_to_parent;
        let base = pointer(address / PAGE as u64).cast::<AtomicU32>();
        // SAFETY: as for the interrupt page.
        unsafe { base.add(2 + group * 2).as_ref() }.load(Ordering::SeqCst)
    }

    /// Puts the next message into the slot if that is empty; sets the pending flag if more wait.
    fn deliver(&self) {
        let mut host = self.host.lock();
        // SAFETY: the page is the machine's and consists of atomics.
        let page = unsafe { self.messages.cast::<MessagePage>().as_ref() };
        let slot = page.slot(SintIndex::VMBUS);
        if slot.message_type.load(Ordering::SeqCst) != 0 {
            if !host.queue.is_empty() {
                slot.flags.store(MESSAGE_PENDING, Ordering::SeqCst);
            }
            return;
        }
        let Some(bytes) = host.queue.pop_front() else {
            return;
        };
        for (word, chunk) in slot.payload.iter().zip(bytes.chunks(8)) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(padded), Ordering::SeqCst);
        }
        slot.payload_size.store(bytes.len() as u8, Ordering::SeqCst);
        let pending = if host.queue.is_empty() {
            0
        } else {
            MESSAGE_PENDING
        };
        slot.flags.store(pending, Ordering::SeqCst);
        slot.message_type
            .store(MessageType::VMBUS.0, Ordering::SeqCst);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for page in [self.messages, self.event_flags] {
            // SAFETY: allocated so by `new`.
            unsafe { dealloc(page.as_ptr(), layout(1)) }
        }
    }
}

// SAFETY: pages come from the allocator, aligned and zeroed; their frames are their addresses.
unsafe impl Platform for Machine {
    fn allocate_shared(&self, pages: usize) -> Option<SharedPages> {
        if pages == 0 || pages > 10_000 {
            return None;
        }
        self.allocated.fetch_add(pages, Ordering::SeqCst);
        // SAFETY: fresh memory, page-aligned, until it is given back.
        Some(unsafe { SharedPages::from_raw(zeroed(pages), pages) })
    }

    unsafe fn free_shared(&self, pages: SharedPages) {
        self.allocated
            .fetch_sub(pages.page_count(), Ordering::SeqCst);
        // SAFETY: from `allocate_shared`.
        unsafe { dealloc(pages.base().as_ptr(), layout(pages.page_count())) }
    }

    fn page_frame(&self, pages: &SharedPages, index: usize) -> u64 {
        (pages.base().addr().get() / PAGE + index) as u64
    }
}

impl Runtime for Machine {
    fn now(&self) -> u64 {
        self.time.load(Ordering::SeqCst)
    }

    fn idle(&self) {
        self.time.fetch_add(IDLE_TIME, Ordering::SeqCst);
        self.deliver();
    }
}

/// The processor.
#[derive(Clone)]
pub(super) struct Cpu {
    machine: Arc<Machine>,
}

// SAFETY: registers are kept in a map; hypercalls read the test's own memory before they return.
unsafe impl Processor for Cpu {
    fn cpuid(&self, _leaf: u32, _subleaf: u32) -> CpuidResult {
        CpuidResult::default()
    }

    fn read_msr(&self, msr: u32) -> Result<u64, MsrFault> {
        Ok(self.machine.msrs.lock().get(&msr).copied().unwrap_or(0))
    }

    unsafe fn write_msr(&self, msr: u32, value: u64) -> Result<(), MsrFault> {
        if msr == msr::EOM {
            self.machine.deliver();
        } else {
            self.machine.msrs.lock().insert(msr, value);
        }
        Ok(())
    }

    unsafe fn hypercall(&self, control: u64, input: u64, _output: u64) -> u64 {
        let code = (control & 0xFFFF) as u16;
        let mut host = self.machine.host();
        let status = if code == CallCode::POST_MESSAGE.0 {
            let pointer = core::ptr::with_exposed_provenance::<[u8; 256]>(input as usize);
            // SAFETY: the guest's parameter page, which nobody writes during the call.
            let bytes = unsafe { pointer.read() };
            let message = PostMessage::read_from_bytes(&bytes).unwrap();
            match host.refuse_posts.pop_front() {
                Some(status) => status,
                None => {
                    let payload = message.check().unwrap();
                    assert_eq!(message.message_type(), MessageType::VMBUS);
                    host.handle(message.connection_id.get(), payload);
                    Status::SUCCESS
                }
            }
        } else if code == CallCode::SIGNAL_EVENT.0 {
            let signal = SignalEvent::from_register(input);
            host.signals
                .push((signal.connection_id.get(), signal.flag_number.get()));
            Status::SUCCESS
        } else {
            Status::INVALID_HYPERCALL_CODE
        };
        CallResult::new(status, 0).bits()
    }

    fn tsc(&self) -> u64 {
        0
    }
}
