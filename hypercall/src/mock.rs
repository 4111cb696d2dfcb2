//! A small hypervisor for tests: registers with their rules, the delivery side
//! of the SynIC, scripted hypercalls. Guest physical addresses are addresses
//! of the test process.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::vec::Vec;

use crate::call::{CallResult, MessageType, Status};
use crate::cpuid::Discovery;
use crate::cpuid::{Features, HypercallPrivileges, HypervisorVersion, Privileges, Recommendations};
use crate::invoke::ParameterPage;
use crate::msr::{self, PageRegister, SintIndex, SintRegister, StimerConfig, TimerIndex};
use crate::synic::{EventFlagsPage, MESSAGE_PENDING, MessagePage, MessageSlot};
use crate::{CpuidResult, MsrFault, Processor};

/// One access that the guest made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// An MSR was read.
    Read(u32),
    /// An MSR was written.
    Write(u32, u64),
    /// A hypercall was made.
    Call(u64, u64, u64),
}

/// A queued message: type and payload.
type Queued = (MessageType, Vec<u8>);

type CallHandler = Box<dyn FnMut(u64, u64, u64) -> CallResult + Send>;

#[derive(Default)]
struct State {
    msrs: BTreeMap<u32, u64>,
    read_faults: BTreeSet<u32>,
    write_faults: BTreeSet<u32>,
    ignored: BTreeSet<u32>,
    log: Vec<Access>,
    queues: BTreeMap<SintIndex, VecDeque<Queued>>,
    interrupts: Vec<u8>,
    calls: Option<CallHandler>,
}

/// The hypervisor under one virtual processor.
#[derive(Default)]
pub(crate) struct MockHyperV {
    state: Mutex<State>,
    /// Value of the time stamp counter; every read adds 1.
    pub(crate) tsc: AtomicU64,
}

/// A page of the test, for parameters of hypercalls.
#[repr(C, align(4096))]
pub(crate) struct TestPage(pub(crate) [u8; 4096]);

impl TestPage {
    /// A page that is never freed.
    pub(crate) fn parameters() -> ParameterPage {
        let page = NonNull::from(Box::leak(Box::new(Self([0xAA; 4096])))).cast::<u8>();
        // SAFETY: the page is leaked, so it is this value's alone and for ever.
        unsafe { ParameterPage::new(page, page.as_ptr().expose_provenance() as u64) }.unwrap()
    }

    /// The bytes at an address that a [`ParameterPage`] reported.
    pub(crate) fn bytes(address: u64, length: usize) -> Vec<u8> {
        let base = core::ptr::with_exposed_provenance::<u8>(address as usize);
        // SAFETY: pages of `parameters` live for ever, and the test thread is
        // the only one that accesses them.
        unsafe { core::slice::from_raw_parts(base, length) }.to_vec()
    }

    /// Writes to an address that a [`ParameterPage`] reported.
    pub(crate) fn write(address: u64, bytes: &[u8]) {
        let base = core::ptr::with_exposed_provenance_mut::<u8>(address as usize);
        // SAFETY: as for `bytes`.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), base, bytes.len()) }
    }
}

/// The page frame of a page type of the test.
pub(crate) fn frame_of<T>(page: &T) -> u64 {
    let address = core::ptr::from_ref(page).expose_provenance();
    assert_eq!(address % 4096, 0);
    address as u64 / 4096
}

/// What a host with everything offers.
pub(crate) fn discovery() -> Discovery {
    Discovery {
        max_leaf: 0x4000_0006,
        version: HypervisorVersion::default(),
        privileges: Privileges::all(),
        hypercall_privileges: HypercallPrivileges::POST_MESSAGES
            | HypercallPrivileges::SIGNAL_EVENTS,
        features: Features::DIRECT_STIMERS | Features::CRASH | Features::FREQUENCY,
        recommendations: Recommendations::DEPRECATE_AUTO_EOI,
        spin_retries: None,
        physical_address_bits: None,
        max_virtual_processors: None,
        max_logical_processors: None,
        isolation: None,
    }
}

impl MockHyperV {
    pub(crate) fn new() -> Self {
        let this = Self::default();
        for sint in SintIndex::all() {
            this.set_msr(sint.register(), SintRegister::RESET.bits());
        }
        for timer in TimerIndex::all() {
            this.set_msr(timer.config_register(), 0);
            this.set_msr(timer.count_register(), 0);
        }
        for register in [
            msr::GUEST_OS_ID,
            msr::HYPERCALL,
            msr::VP_INDEX,
            msr::TIME_REF_COUNT,
            msr::REFERENCE_TSC,
            msr::VP_ASSIST_PAGE,
            msr::SCONTROL,
            msr::SIEFP,
            msr::SIMP,
            msr::EOM,
        ] {
            this.set_msr(register, 0);
        }
        for register in crate::crash::PARAMETERS {
            this.set_msr(register, 0);
        }
        this.set_msr(msr::CRASH_CTL, 3 << 62);
        this
    }

    /// Sets a register behind the guest's back.
    pub(crate) fn set_msr(&self, register: u32, value: u64) {
        self.state.lock().unwrap().msrs.insert(register, value);
    }

    /// What a register holds.
    pub(crate) fn msr(&self, register: u32) -> u64 {
        self.state.lock().unwrap().msrs[&register]
    }

    /// Makes writes of a register fault.
    pub(crate) fn refuse_writes(&self, register: u32) {
        self.state.lock().unwrap().write_faults.insert(register);
    }

    /// Makes all accesses of a register fault.
    pub(crate) fn refuse(&self, register: u32) {
        let mut state = self.state.lock().unwrap();
        state.read_faults.insert(register);
        state.write_faults.insert(register);
    }

    /// Makes writes of a register succeed without effect.
    pub(crate) fn ignore_writes(&self, register: u32) {
        self.state.lock().unwrap().ignored.insert(register);
    }

    /// Answers hypercalls.
    pub(crate) fn on_call(
        &self,
        handler: impl FnMut(u64, u64, u64) -> CallResult + Send + 'static,
    ) {
        self.state.lock().unwrap().calls = Some(Box::new(handler));
    }

    /// What the guest did since the last call.
    pub(crate) fn take_log(&self) -> Vec<Access> {
        core::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// The writes among what the guest did since the last call.
    pub(crate) fn take_writes(&self) -> Vec<(u32, u64)> {
        self.take_log()
            .into_iter()
            .filter_map(|access| match access {
                Access::Write(register, value) => Some((register, value)),
                _ => None,
            })
            .collect()
    }

    /// Vectors raised since the last call.
    pub(crate) fn take_interrupts(&self) -> Vec<u8> {
        core::mem::take(&mut self.state.lock().unwrap().interrupts)
    }

    /// Messages that wait for their slot.
    pub(crate) fn queued(&self, sint: SintIndex) -> usize {
        let state = self.state.lock().unwrap();
        state.queues.get(&sint).map_or(0, VecDeque::len)
    }

    /// Sends a message to the guest.
    pub(crate) fn send(&self, sint: SintIndex, message_type: MessageType, payload: &[u8]) {
        let mut state = self.state.lock().unwrap();
        state
            .queues
            .entry(sint)
            .or_default()
            .push_back((message_type, payload.to_vec()));
        state.deliver(sint);
    }

    /// Sets an event flag of the guest.
    pub(crate) fn signal(&self, sint: SintIndex, flag: u16) -> Status {
        let mut state = self.state.lock().unwrap();
        let sint_register = state.sint(sint);
        let Some(page) = state.page::<EventFlagsPage>(msr::SIEFP) else {
            return Status::INVALID_SYNIC_STATE;
        };
        if sint_register.is_masked() {
            return Status::INVALID_SYNIC_STATE;
        }
        match page.set(sint, flag) {
            None => Status::INVALID_PARAMETER,
            Some(was_clear) => {
                if was_clear {
                    state.interrupt(sint_register);
                }
                Status::SUCCESS
            }
        }
    }
}

impl State {
    fn sint(&self, sint: SintIndex) -> SintRegister {
        SintRegister::from_bits(self.msrs[&sint.register()])
    }

    fn interrupt(&mut self, sint: SintRegister) {
        if sint.delivers_interrupts() {
            self.interrupts.push(sint.vector());
        }
    }

    /// The page that a register names, if it and the SynIC are enabled.
    fn page<T>(&self, register: u32) -> Option<&'static T> {
        let page = PageRegister::from_bits(self.msrs[&register]);
        let enabled = page.is_enabled() && self.msrs[&msr::SCONTROL] & 1 != 0;
        let pointer = core::ptr::with_exposed_provenance::<T>(page.address() as usize);
        // SAFETY: tests keep a page allocated while a register names it.
        enabled.then(|| unsafe { &*pointer })
    }

    /// Fills the slot from its queue, by the host's side of the protocol.
    fn deliver(&mut self, sint: SintIndex) {
        let Some(page) = self.page::<MessagePage>(msr::SIMP) else {
            return;
        };
        let slot: &MessageSlot = page.slot(sint);
        let Some(queue) = self.queues.get_mut(&sint) else {
            return;
        };
        if queue.is_empty() {
            return;
        }
        if slot.message_type.load(Ordering::Acquire) != 0 {
            slot.flags.fetch_or(MESSAGE_PENDING, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if slot.message_type.load(Ordering::Acquire) != 0 {
                return;
            }
        }
        let (message_type, payload) = queue.pop_front().unwrap();
        for (word, bytes) in slot.payload.iter().zip(payload.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
        }
        slot.payload_size
            .store(payload.len() as u8, Ordering::Relaxed);
        slot.flags
            .store(u8::from(!queue.is_empty()), Ordering::Relaxed);
        slot.origin.store(0, Ordering::Relaxed);
        slot.message_type.store(message_type.0, Ordering::Release);
        self.interrupt(self.sint(sint));
    }

    fn deliver_all(&mut self) {
        for sint in SintIndex::all() {
            self.deliver(sint);
        }
    }

    /// What becomes of a register when `value` is written; `None` is a fault.
    fn written(&self, register: u32, value: u64) -> Option<u64> {
        let before = *self.msrs.get(&register)?;
        match register {
            msr::VP_INDEX | msr::TIME_REF_COUNT => None,
            msr::HYPERCALL if before & 2 != 0 => None,
            msr::HYPERCALL if self.msrs[&msr::GUEST_OS_ID] == 0 => Some(value & !1),
            _ if SintIndex::from_register(register).is_some() => {
                SintRegister::from_bits(value).is_valid().then_some(value)
            }
            _ if TimerIndex::from_register(register)
                .is_some_and(|timer| timer.config_register() == register) =>
            {
                let config = StimerConfig::from_bits(value);
                (config.reserved() == 0).then(|| config.normalised().bits())
            }
            _ => Some(value),
        }
    }
}

// SAFETY: hypercalls are answered before the method returns; the guest's memory
// is accessed through atomics, or by handlers of the test's own thread.
unsafe impl Processor for MockHyperV {
    fn cpuid(&self, _: u32, _: u32) -> CpuidResult {
        CpuidResult::default()
    }

    fn read_msr(&self, register: u32) -> Result<u64, MsrFault> {
        let mut state = self.state.lock().unwrap();
        state.log.push(Access::Read(register));
        let fault = MsrFault { msr: register };
        if state.read_faults.contains(&register) {
            return Err(fault);
        }
        state.msrs.get(&register).copied().ok_or(fault)
    }

    unsafe fn write_msr(&self, register: u32, value: u64) -> Result<(), MsrFault> {
        let mut state = self.state.lock().unwrap();
        state.log.push(Access::Write(register, value));
        let fault = MsrFault { msr: register };
        if state.write_faults.contains(&register) {
            return Err(fault);
        }
        let value = state.written(register, value).ok_or(fault)?;
        if state.ignored.contains(&register) {
            return Ok(());
        }
        state.msrs.insert(register, value);
        if register == msr::GUEST_OS_ID && value == 0 {
            let page = state.msrs.get_mut(&msr::HYPERCALL).unwrap();
            *page &= !1;
        }
        if matches!(register, msr::EOM | msr::SIMP | msr::SCONTROL)
            || SintIndex::from_register(register).is_some()
        {
            state.deliver_all();
        }
        Ok(())
    }

    unsafe fn hypercall(&self, control: u64, input: u64, output: u64) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.log.push(Access::Call(control, input, output));
        match &mut state.calls {
            Some(handler) => handler(control, input, output).bits(),
            None => CallResult::from(Status::INVALID_HYPERCALL_CODE).bits(),
        }
    }

    fn tsc(&self) -> u64 {
        self.tsc.fetch_add(1, Ordering::SeqCst)
    }
}
