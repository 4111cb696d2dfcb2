//! A hypervisor shim with a clock that is moved by hand and interrupts that are written down.

#![allow(
    dead_code,
    reason = "each test program uses the part of the fixture that it needs"
)]

use std::sync::{Arc, Mutex};

use host_sim::hv::{
    EventPort, Hv, HvConfig, HypercallRegisters, InterruptSink, ManualClock, MessagePort,
};
use host_sim::memory::{GuestMemory, PAGE_SIZE};
use hypercall::call::{CallResult, Control, PostMessage, Status};
use hypercall::identity::{GuestOsId, OsType};
use hypercall::msr::{self, PageRegister, SCONTROL_ENABLE, SintIndex, SintRegister};
use hypercall::synic::{MESSAGE_SLOT_SIZE, slot};
use zerocopy::IntoBytes;

/// Pages of the fixture's memory.
pub(crate) const PAGES: u64 = 64;
/// Frame of the hypercall page.
pub(crate) const HYPERCALL_FRAME: u64 = 1;
/// Frame for hypercall input.
pub(crate) const INPUT_FRAME: u64 = 2;
/// Frame for hypercall output.
pub(crate) const OUTPUT_FRAME: u64 = 3;
/// First frame of the SynIC pages: two for each virtual processor.
pub(crate) const SYNIC_FRAME: u64 = 16;
/// The vector of SINT2.
pub(crate) const VECTOR: u8 = 0xf3;

/// Writes interrupts down.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<(u32, u8)>>);

impl InterruptSink for Recorder {
    fn inject(&self, vp: u32, vector: u8) {
        self.0.lock().unwrap().push((vp, vector));
    }
}

/// A partition's shim and all that it touches.
pub(crate) struct Fixture {
    pub(crate) hv: Arc<Hv>,
    pub(crate) memory: GuestMemory,
    pub(crate) clock: Arc<ManualClock>,
    interrupts: Arc<Recorder>,
}

impl Fixture {
    /// Two virtual processors, the usual features.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(adjust: impl FnOnce(&mut HvConfig)) -> Self {
        let memory = GuestMemory::new(PAGES * PAGE_SIZE).unwrap();
        let clock = Arc::new(ManualClock::default());
        let interrupts = Arc::new(Recorder::default());
        let mut config = HvConfig::new(memory.clone(), clock.clone(), interrupts.clone(), 2);
        adjust(&mut config);
        Self {
            hv: Hv::new(config).unwrap(),
            memory,
            clock,
            interrupts,
        }
    }

    pub(crate) fn read(&self, msr: u32) -> u64 {
        self.hv.read_msr(0, msr).unwrap()
    }

    pub(crate) fn write(&self, msr: u32, value: u64) {
        self.hv.write_msr(0, msr, value).unwrap();
    }

    /// Whether a write raises #GP, which must leave the register as it was.
    pub(crate) fn write_faults(&self, msr: u32, value: u64) -> bool {
        let before = self.hv.read_msr(0, msr);
        let faults = self.hv.write_msr(0, msr, value).is_err();
        if faults {
            assert_eq!(self.hv.read_msr(0, msr), before, "MSR {msr:#x}");
        }
        faults
    }

    /// The interrupts since the last look.
    pub(crate) fn interrupts(&self) -> Vec<(u32, u8)> {
        std::mem::take(&mut self.interrupts.0.lock().unwrap())
    }

    pub(crate) fn install_hypercall_page(&self) {
        let id = GuestOsId::open_source(OsType::PRIVATE).bits();
        self.write(msr::GUEST_OS_ID, id);
        self.write(msr::HYPERCALL, page_register(HYPERCALL_FRAME));
    }

    /// Brings up a virtual processor's SynIC with SINT2 unmasked.
    pub(crate) fn enable_synic(&self, vp: u32) {
        let frame = message_frame(vp);
        for (msr, value) in [
            (msr::SIMP, page_register(frame)),
            (msr::SIEFP, page_register(frame + 1)),
            (
                SintIndex::VMBUS.register(),
                SintRegister::RESET
                    .with_vector(VECTOR)
                    .with_masked(false)
                    .bits(),
            ),
            (msr::SCONTROL, SCONTROL_ENABLE),
        ] {
            self.hv.write_msr(vp, msr, value).unwrap();
        }
    }

    pub(crate) fn call(&self, control: u64, input: u64, output: u64) -> CallResult {
        let registers = HypercallRegisters {
            control,
            input,
            output,
        };
        CallResult::from_bits(self.hv.hypercall(0, registers))
    }

    pub(crate) fn status(&self, control: u64, input: u64, output: u64) -> Status {
        self.call(control, input, output).status()
    }

    /// Puts bytes where hypercalls find their input; returns the address.
    pub(crate) fn input(&self, bytes: &[u8]) -> u64 {
        let address = INPUT_FRAME * PAGE_SIZE;
        self.memory.write(address, bytes).unwrap();
        address
    }

    pub(crate) fn post(&self, message: &PostMessage) -> Status {
        let input = self.input(message.as_bytes());
        self.status(PostMessage::CONTROL.bits(), input, 0)
    }

    /// Type, payload size, flags and first payload byte of a slot of a virtual processor's message page.
    pub(crate) fn slot(&self, vp: u32, sint: u8) -> (u32, u8, u8, u8) {
        let address = slot_address(vp, sint);
        let mut bytes = [0; 32];
        self.memory.read(address, &mut bytes).unwrap();
        let message_type = u32::from_le_bytes(bytes[..4].try_into().unwrap());
        (
            message_type,
            bytes[slot::PAYLOAD_SIZE],
            bytes[slot::FLAGS],
            bytes[slot::PAYLOAD],
        )
    }

    /// Empties a slot as a guest does, without telling the host. Returns whether the pending flag was set.
    pub(crate) fn empty_slot(&self, vp: u32, sint: u8) -> bool {
        let address = slot_address(vp, sint);
        self.memory.write(address, &[0; 4]).unwrap();
        self.slot(vp, sint).2 & 1 != 0
    }

    /// Byte of the event flags page of a virtual processor.
    pub(crate) fn event_byte(&self, vp: u32, offset: u64) -> u8 {
        let mut byte = [0];
        let address = (message_frame(vp) + 1) * PAGE_SIZE + offset;
        self.memory.read(address, &mut byte).unwrap();
        byte[0]
    }

    pub(crate) fn page(&self, frame: u64) -> Vec<u8> {
        let mut bytes = vec![0; PAGE_SIZE as usize];
        self.memory.read(frame * PAGE_SIZE, &mut bytes).unwrap();
        bytes
    }

    /// Moves time on and runs what is due, until nothing is.
    pub(crate) fn advance(&self, units: u64) {
        self.clock.advance(units);
        let now = self.hv.reference_time();
        while self.hv.next_deadline().is_some_and(|due| due <= now) {
            self.hv.run_timers(now);
        }
    }
}

pub(crate) fn message_frame(vp: u32) -> u64 {
    SYNIC_FRAME + 2 * u64::from(vp)
}

fn slot_address(vp: u32, sint: u8) -> u64 {
    message_frame(vp) * PAGE_SIZE + u64::from(sint) * MESSAGE_SLOT_SIZE as u64
}

/// A page register that is enabled.
pub(crate) fn page_register(frame: u64) -> u64 {
    PageRegister::default()
        .with_page_frame(frame)
        .with_enabled(true)
        .bits()
}

/// A control value with bits that its builder would refuse.
pub(crate) fn raw(control: Control, bits: u64) -> u64 {
    control.bits() | bits
}

/// A port that keeps what it gets and answers as told.
pub(crate) struct TestPort {
    pub(crate) messages: Mutex<Vec<(u32, Vec<u8>)>>,
    pub(crate) signals: Mutex<Vec<u16>>,
    pub(crate) answer: Status,
}

impl TestPort {
    pub(crate) fn new(answer: Status) -> Arc<Self> {
        Arc::new(Self {
            messages: Mutex::default(),
            signals: Mutex::default(),
            answer,
        })
    }
}

impl MessagePort for TestPort {
    fn post(&self, message_type: u32, payload: &[u8]) -> Status {
        self.messages
            .lock()
            .unwrap()
            .push((message_type, payload.to_vec()));
        self.answer
    }
}

impl EventPort for TestPort {
    fn signal(&self, flag: u16) -> Status {
        self.signals.lock().unwrap().push(flag);
        self.answer
    }

    fn flag_count(&self) -> u16 {
        4
    }
}
