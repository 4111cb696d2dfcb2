//! The P-scope state of a partition: guest identity, hypercall page, reference TSC page, crash parameters.

use hypercall::cpuid::Features;
use hypercall::msr::{GuestOsId, PageRegister};

use super::machine::Machine;
use super::msr::Refusal;
use super::overlay::Overlay;
use super::time::TscPage;
use crate::memory::PAGE_SIZE;

/// ENDBR64, so that guests with indirect branch tracking may call the page.
const ENDBR64: [u8; 4] = [0xF3, 0x0F, 0x1E, 0xFA];
/// OUT imm8, AL: the trap that every back end can take.
const OUT_IMM8: u8 = 0xE6;
/// RET.
const NEAR_RETURN: u8 = 0xC3;
/// INT3, which catches stray jumps.
const BREAKPOINT: u8 = 0xCC;

/// The bytes of the hypercall page that traps by writing to an I/O port.
pub(super) fn hypercall_page(port: u8) -> [u8; PAGE_SIZE as usize] {
    let mut page = [BREAKPOINT; PAGE_SIZE as usize];
    page[..4].copy_from_slice(&ENDBR64);
    page[4..7].copy_from_slice(&[OUT_IMM8, port, NEAR_RETURN]);
    page
}

/// State of the partition, under its lock.
pub(super) struct PartitionState {
    pub(super) guest_os_id: GuestOsId,
    hypercall: PageRegister,
    hypercall_page: Overlay,
    reference_tsc: PageRegister,
    tsc_page: TscPage,
    pub(super) crash: [u64; 5],
    pub(super) tsc_invariant: u64,
}

impl PartitionState {
    pub(super) fn new() -> Self {
        Self {
            guest_os_id: GuestOsId::NONE,
            hypercall: PageRegister::default(),
            hypercall_page: Overlay::new(),
            reference_tsc: PageRegister::default(),
            tsc_page: TscPage::new(),
            crash: [0; 5],
            tsc_invariant: 0,
        }
    }

    /// Reset of the partition: every register as at creation, every page uncovered.
    pub(super) fn reset(&mut self, machine: &Machine) {
        self.hypercall_page.reset(machine.memory());
        self.tsc_page.disable(machine.memory());
        self.guest_os_id = GuestOsId::NONE;
        self.hypercall = PageRegister::default();
        self.reference_tsc = PageRegister::default();
        self.crash = [0; 5];
        self.tsc_invariant = 0;
    }

    pub(super) fn hypercall(&self) -> PageRegister {
        self.hypercall
    }

    pub(super) fn reference_tsc(&self) -> PageRegister {
        self.reference_tsc
    }

    /// Without an identity there is no hypercall page.
    pub(super) fn write_guest_os_id(&mut self, machine: &Machine, id: GuestOsId) {
        self.guest_os_id = id;
        if id.is_none() {
            self.hypercall = self.hypercall.with_enabled(false);
            self.hypercall_page.remove(machine.memory());
        }
    }

    pub(super) fn write_hypercall(
        &mut self,
        machine: &Machine,
        register: PageRegister,
    ) -> Result<(), Refusal> {
        if self.hypercall.is_locked() {
            return Err(Refusal::Locked);
        }
        let lockable = machine.config.features.contains(Features::HYPERCALL_LOCK);
        let mut reserved = register.preserved();
        if lockable && register.is_locked() {
            reserved &= !LOCKED;
        }
        if reserved != 0 {
            return Err(Refusal::Reserved);
        }
        if register.is_enabled() && !machine.memory().is_ram_page(register.page_frame()) {
            return Err(Refusal::NotRam);
        }
        let enabled = register.is_enabled() && !self.guest_os_id.is_none();
        if enabled {
            let page = hypercall_page(machine.config.hypercall_port);
            self.hypercall_page
                .place_with(machine.memory(), register.page_frame(), &page)
                .map_err(|_| Refusal::NotRam)?;
        } else {
            self.hypercall_page.remove(machine.memory());
        }
        let register = register.with_enabled(enabled);
        self.hypercall = register;
        Ok(())
    }

    pub(super) fn write_reference_tsc(
        &mut self,
        machine: &Machine,
        register: PageRegister,
    ) -> Result<(), Refusal> {
        if register.is_enabled() {
            self.tsc_page
                .enable(machine.memory(), register.page_frame(), &machine.time)
                .map_err(|_| Refusal::NotRam)?;
        } else {
            self.tsc_page.disable(machine.memory());
        }
        self.reference_tsc = register;
        Ok(())
    }

    pub(super) fn set_reference_time(&mut self, machine: &Machine, reference: u64) {
        self.tsc_page
            .rebase(machine.memory(), &machine.time, reference);
    }

    /// Bit 0 can be set but not cleared by the guest; others do not exist.
    pub(super) fn write_tsc_invariant(&mut self, value: u64) -> Result<(), Refusal> {
        if value & !1 != 0 || self.tsc_invariant & !value != 0 {
            return Err(Refusal::Reserved);
        }
        self.tsc_invariant = value;
        Ok(())
    }
}

/// The lock bit of the hypercall register.
const LOCKED: u64 = 1 << 1;
