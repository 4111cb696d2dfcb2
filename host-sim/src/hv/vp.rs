//! The V-scope state of one virtual processor: SynIC registers and pages, waiting messages, synthetic timers.
//!
//! Nothing here raises an interrupt: vectors are collected and raised once the processor's lock is released.

use hypercall::call::Status;
use hypercall::cpuid::Features;
use hypercall::msr::{
    PageRegister, SCONTROL_ENABLE, SINT_COUNT, STIMER_COUNT, SintIndex, SintRegister, StimerConfig,
    TimerIndex,
};
use hypercall::synic::{EventFlagsPage, MessagePage};

use super::counters::VpCounters;
use super::machine::Machine;
use super::message::{Delivery, Message, MessageQueue};
use super::msr::Refusal;
use super::overlay::Overlay;
use super::shared_page;
use super::timer::{ExpiryMeans, Timer};
use super::vectors::VectorSet;
use crate::memory::GuestMemory;

/// A page register of the processor with the page that it places.
#[derive(Debug)]
pub(super) struct SynicPage {
    register: PageRegister,
    overlay: Overlay,
}

impl SynicPage {
    fn new() -> Self {
        Self {
            register: PageRegister::default(),
            overlay: Overlay::new(),
        }
    }

    pub(super) fn register(&self) -> PageRegister {
        self.register
    }

    fn write(&mut self, memory: &GuestMemory, register: PageRegister) -> Result<(), Refusal> {
        if register.is_enabled() {
            self.overlay
                .place(memory, register.page_frame())
                .map_err(|_| Refusal::NotRam)?;
        } else {
            self.overlay.remove(memory);
        }
        self.register = register;
        Ok(())
    }

    fn reset(&mut self, memory: &GuestMemory) {
        self.overlay.reset(memory);
        self.register = PageRegister::default();
    }
}

/// State of one virtual processor, under its lock.
#[derive(Debug)]
pub(super) struct VpState {
    index: u32,
    scontrol: u64,
    siefp: SynicPage,
    simp: SynicPage,
    assist_page: SynicPage,
    sints: [SintRegister; SINT_COUNT],
    queues: [MessageQueue; SINT_COUNT],
    timers: [Timer; STIMER_COUNT],
    auto_eoi_reported: bool,
    pub(super) counters: VpCounters,
}

impl VpState {
    pub(super) fn new(index: u32, machine: &Machine) -> Self {
        Self {
            index,
            scontrol: initial_scontrol(machine),
            siefp: SynicPage::new(),
            simp: SynicPage::new(),
            assist_page: SynicPage::new(),
            sints: [SintRegister::RESET; SINT_COUNT],
            queues: Default::default(),
            timers: Default::default(),
            auto_eoi_reported: false,
            counters: VpCounters::default(),
        }
    }

    /// Reset of the virtual processor: registers as at creation, pages gone, timers off, nothing waiting.
    pub(super) fn reset(&mut self, machine: &Machine) {
        self.scontrol = initial_scontrol(machine);
        self.siefp.reset(machine.memory());
        self.simp.reset(machine.memory());
        self.assist_page.reset(machine.memory());
        self.sints = [SintRegister::RESET; SINT_COUNT];
        self.queues.iter_mut().for_each(MessageQueue::clear);
        self.timers = Default::default();
    }

    pub(super) fn scontrol(&self) -> u64 {
        self.scontrol
    }

    pub(super) fn siefp(&self) -> &SynicPage {
        &self.siefp
    }

    pub(super) fn simp(&self) -> &SynicPage {
        &self.simp
    }

    pub(super) fn assist_page(&self) -> &SynicPage {
        &self.assist_page
    }

    pub(super) fn sint(&self, sint: SintIndex) -> SintRegister {
        self.sints[usize::from(sint.number())]
    }

    pub(super) fn timer(&self, timer: TimerIndex) -> &Timer {
        &self.timers[usize::from(timer.number())]
    }

    pub(super) fn queue_len(&self, sint: SintIndex) -> usize {
        self.queues[usize::from(sint.number())].len()
    }

    /// Messages that wait for any SINT.
    pub(super) fn waiting_messages(&self) -> usize {
        self.queues.iter().map(MessageQueue::len).sum()
    }

    /// When the next timer expires, in reference time.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.timers.iter().filter_map(Timer::deadline).min()
    }

    fn is_enabled(&self) -> bool {
        self.scontrol & SCONTROL_ENABLE != 0
    }

    pub(super) fn write_scontrol(&mut self, machine: &Machine, value: u64, raise: &mut VectorSet) {
        self.scontrol = value;
        self.deliver_all(machine, raise);
    }

    pub(super) fn write_siefp(
        &mut self,
        machine: &Machine,
        register: PageRegister,
    ) -> Result<(), Refusal> {
        self.siefp.write(machine.memory(), register)
    }

    pub(super) fn write_assist_page(
        &mut self,
        machine: &Machine,
        register: PageRegister,
    ) -> Result<(), Refusal> {
        self.assist_page.write(machine.memory(), register)
    }

    pub(super) fn write_simp(
        &mut self,
        machine: &Machine,
        register: PageRegister,
        raise: &mut VectorSet,
    ) -> Result<(), Refusal> {
        self.simp.write(machine.memory(), register)?;
        self.deliver_all(machine, raise);
        Ok(())
    }

    pub(super) fn write_sint(
        &mut self,
        machine: &Machine,
        sint: SintIndex,
        register: SintRegister,
        raise: &mut VectorSet,
    ) -> Result<(), Refusal> {
        if !register.is_valid() {
            return Err(Refusal::Vector);
        }
        if register.is_auto_eoi() && !self.auto_eoi_reported {
            self.auto_eoi_reported = true;
            tracing::warn!(
                vp = self.index,
                sint = sint.number(),
                "the guest asks for AutoEOI, which is not emulated: it must end interrupts itself"
            );
        }
        self.sints[usize::from(sint.number())] = register;
        self.deliver(machine, sint, raise);
        Ok(())
    }

    /// Queues a message from a port and tries to deliver it. `false` if the queue is at its limit.
    pub(super) fn post(
        &mut self,
        machine: &Machine,
        sint: SintIndex,
        message: Message,
        raise: &mut VectorSet,
    ) -> bool {
        let queue = &mut self.queues[usize::from(sint.number())];
        if queue.limited_len() >= machine.config.message_queue_limit {
            return false;
        }
        self.enqueue(machine, sint, message, raise);
        true
    }

    fn enqueue(
        &mut self,
        machine: &Machine,
        sint: SintIndex,
        message: Message,
        raise: &mut VectorSet,
    ) {
        self.queues[usize::from(sint.number())].push(message);
        self.counters.messages_queued += 1;
        self.deliver(machine, sint, raise);
    }

    /// Looks at every SINT for messages that can go to their slots by now.
    pub(super) fn deliver_all(&mut self, machine: &Machine, raise: &mut VectorSet) {
        for sint in SintIndex::all() {
            self.deliver(machine, sint, raise);
        }
    }

    fn deliver(&mut self, machine: &Machine, sint: SintIndex, raise: &mut VectorSet) {
        let number = usize::from(sint.number());
        if !self.is_enabled() || self.queues[number].len() == 0 {
            return;
        }
        let Some(frame) = self.simp.overlay.page_frame() else {
            return;
        };
        // The page register only ever names RAM.
        let Ok(page) = shared_page::view::<MessagePage>(machine.memory(), frame) else {
            return;
        };
        loop {
            match self.queues[number].deliver(page.slot(sint), || machine.time.now()) {
                Delivery::Empty => return,
                Delivery::SlotTaken { newly } => {
                    self.counters.messages_parked += u64::from(newly);
                    return;
                }
                Delivery::Delivered { timer } => {
                    self.counters.messages_delivered += 1;
                    if let Some(timer) = timer {
                        self.timers[usize::from(timer.number())].message_waits = false;
                    }
                    if self.sint(sint).delivers_interrupts() {
                        raise.insert(self.sint(sint).vector());
                    }
                }
            }
        }
    }

    /// Sets an event flag; an interrupt only if it was clear.
    pub(super) fn signal_event(
        &mut self,
        machine: &Machine,
        sint: SintIndex,
        flag: u16,
        raise: &mut VectorSet,
    ) -> Result<(), Status> {
        let register = self.sint(sint);
        let frame = self
            .siefp
            .overlay
            .page_frame()
            .filter(|_| self.is_enabled() && !register.is_masked());
        let Some(frame) = frame else {
            self.counters.events_refused += 1;
            return Err(Status::INVALID_SYNIC_STATE);
        };
        let was_clear = shared_page::view::<EventFlagsPage>(machine.memory(), frame)
            .map_err(|_| Status::INVALID_SYNIC_STATE)?
            .set(sint, flag)
            .ok_or(Status::INVALID_PARAMETER)?;
        self.counters.events_signalled += 1;
        if was_clear && register.delivers_interrupts() {
            raise.insert(register.vector());
        }
        Ok(())
    }

    pub(super) fn write_timer_config(
        &mut self,
        machine: &Machine,
        timer: TimerIndex,
        config: StimerConfig,
        raise: &mut VectorSet,
    ) -> Result<(), Refusal> {
        if config.reserved() != 0 {
            return Err(Refusal::Reserved);
        }
        let direct_mode = machine.config.features.contains(Features::DIRECT_STIMERS);
        if config.is_direct() && !direct_mode {
            return Err(Refusal::Reserved);
        }
        self.set_up_timer(machine, timer, raise, |timer, now, shortest| {
            timer.write_config(config, now, shortest);
        });
        Ok(())
    }

    pub(super) fn write_timer_count(
        &mut self,
        machine: &Machine,
        timer: TimerIndex,
        count: u64,
        raise: &mut VectorSet,
    ) {
        self.set_up_timer(machine, timer, raise, |timer, now, shortest| {
            timer.write_count(count, now, shortest);
        });
    }

    /// Sets a timer up anew: what it had to tell from before is void, and it may have expired already.
    fn set_up_timer(
        &mut self,
        machine: &Machine,
        index: TimerIndex,
        raise: &mut VectorSet,
        change: impl FnOnce(&mut Timer, u64, u64),
    ) {
        let now = machine.time.now();
        let timer = &mut self.timers[usize::from(index.number())];
        if std::mem::take(&mut timer.message_waits) {
            for queue in &mut self.queues {
                queue.cancel(index);
            }
        }
        change(timer, now, machine.config.shortest_timer_period);
        self.expire_timer(machine, index, now, raise);
    }

    /// Expires each timer that is due, once.
    pub(super) fn run_timers(&mut self, machine: &Machine, now: u64, raise: &mut VectorSet) {
        for timer in TimerIndex::all() {
            self.expire_timer(machine, timer, now, raise);
        }
    }

    fn expire_timer(
        &mut self,
        machine: &Machine,
        index: TimerIndex,
        now: u64,
        raise: &mut VectorSet,
    ) {
        let timer = &mut self.timers[usize::from(index.number())];
        let Some(expiry) = timer.expire(now, machine.config.shortest_timer_period) else {
            return;
        };
        self.counters.timer_expirations += 1;
        self.counters.timer_ticks_skipped += expiry.skipped;
        match expiry.means {
            // A local APIC refuses vectors below 16; such an interrupt never arrives.
            ExpiryMeans::Interrupt { vector } if vector < SintRegister::VECTOR_MIN => {}
            ExpiryMeans::Interrupt { vector } => {
                raise.insert(vector);
            }
            ExpiryMeans::Message { .. } if timer.message_waits => {
                self.counters.timer_ticks_skipped += 1;
            }
            ExpiryMeans::Message { sint } => {
                timer.message_waits = true;
                if let Some(sint) = SintIndex::new(sint) {
                    let message = Message::timer_expired(index, expiry.due);
                    self.enqueue(machine, sint, message, raise);
                }
            }
        }
    }
}

fn initial_scontrol(machine: &Machine) -> u64 {
    if machine.config.synic_enabled_at_reset {
        SCONTROL_ENABLE
    } else {
        0
    }
}
