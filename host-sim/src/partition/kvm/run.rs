//! One virtual processor's thread: enter the guest, answer its exit, enter again.

use std::ops::ControlFlow;
use std::sync::Arc;

use kvm_ioctls::{VcpuExit, VcpuFd};

use super::devices::End;
use super::exits::ExitCounters;
use super::running::Shared;
use super::tlb_flush::RunsHere;
use super::{ExitReason, Failure, Outcome, affinity, kick, registers};

/// A virtual processor and what it needs to run.
pub(super) struct Processor {
    pub(super) index: u32,
    pub(super) fd: VcpuFd,
    pub(super) counters: Arc<ExitCounters>,
    /// The machine's processor that it stays on, if it is to stay on one.
    pub(super) place: Option<usize>,
}

/// What is left to do after an exit, when the exit's own data are no longer borrowed.
enum Next {
    Enter,
    Hypercall,
    Internal,
    End(Outcome),
    Fail(Failure),
}

impl Processor {
    /// Runs until the machine ends; then calls the others out, too.
    pub(super) fn run(mut self, shared: &Shared) {
        if let Some(place) = self.place
            && let Err(error) = affinity::stay_on(place)
        {
            // It could when that was asked for: the set of processors has changed since.
            tracing::warn!(vp = self.index, place, %error, "a virtual processor is not where it should be");
        }
        // SAFETY: `self` outlives the guard, which is dropped at the end of this function.
        let guard = unsafe { kick::Guard::new(&mut self.fd) };
        let tlb_flush = shared.tlb_flush.as_deref();
        let runs_here = tlb_flush.and_then(|tlb_flush| tlb_flush.run_here(self.index));
        while !shared.has_ended() {
            match self.step(shared, runs_here.as_ref()) {
                ControlFlow::Continue(()) => shared.hv.vp_exited(self.index),
                ControlFlow::Break(outcome) => shared.end(outcome),
            }
        }
        drop(runs_here);
        drop(guard);
    }

    fn step(&mut self, shared: &Shared, runs_here: Option<&RunsHere<'_>>) -> ControlFlow<Outcome> {
        if let Some(runs_here) = runs_here
            && runs_here.enter()
            && let Err(error) = registers::flush_tlb(&self.fd)
        {
            let errno = error.errno();
            return self.fail(shared, Failure::Run { errno });
        }
        let exit = self.fd.run();
        if let Some(runs_here) = runs_here {
            runs_here.leave();
        }
        let next = match exit {
            Ok(exit) => answer(exit, self.index, shared, &self.counters),
            Err(error) => match error.errno() {
                libc::EINTR | libc::EAGAIN => {
                    self.counters.count(ExitReason::Interrupted);
                    self.fd.set_kvm_immediate_exit(0);
                    Next::Enter
                }
                errno => Next::Fail(Failure::Run { errno }),
            },
        };
        match next {
            Next::Enter => ControlFlow::Continue(()),
            Next::Hypercall => {
                self.counters.count(ExitReason::Hypercall);
                match self.hypercall(shared) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => self.fail(
                        shared,
                        Failure::Run {
                            errno: error.errno(),
                        },
                    ),
                }
            }
            Next::Internal => {
                // SAFETY: the last exit was an internal error, for which KVM has filled this part of the union.
                let internal = unsafe { self.fd.get_kvm_run().__bindgen_anon_1.internal };
                let suberror = internal.suberror;
                self.fail(shared, Failure::KvmInternal { suberror })
            }
            Next::End(outcome) => ControlFlow::Break(outcome),
            Next::Fail(failure) => self.fail(shared, failure),
        }
    }

    /// Answers a call of the hypercall page. A caller that may not call gets no answer: its registers stay.
    fn hypercall(&mut self, shared: &Shared) -> Result<(), kvm_ioctls::Error> {
        let sregs = self.fd.get_sregs()?;
        if !registers::may_call(&sregs) {
            tracing::debug!(vp = self.index, "hypercall from outside ring 0 ignored");
            return Ok(());
        }
        let mut regs = self.fd.get_regs()?;
        let parameters = registers::hypercall_parameters(&regs, &sregs);
        let result = shared.hv.hypercall(self.index, parameters);
        registers::set_hypercall_result(&mut regs, &sregs, result);
        self.fd.set_regs(&regs)
    }

    fn fail(&self, shared: &Shared, failure: Failure) -> ControlFlow<Outcome> {
        self.counters.count(ExitReason::Fatal);
        ControlFlow::Break(Outcome::Failed {
            vp: self.index,
            failure,
            registers: registers::dump(&self.fd, &shared.hv.config().memory),
        })
    }
}

/// Deals with an exit as far as its data allow.
fn answer(exit: VcpuExit<'_>, vp: u32, shared: &Shared, counters: &ExitCounters) -> Next {
    let reason = match exit {
        VcpuExit::IoOut(port, _) if shared.hypercall_port == Some(port) => return Next::Hypercall,
        VcpuExit::IoOut(port, data) => {
            let (reason, flow) = shared.devices.write(port, data);
            if let ControlFlow::Break(end) = flow {
                counters.count(reason);
                return Next::End(match end {
                    End::PowerOff { status } => Outcome::PoweredOff { status },
                    End::Reset => Outcome::ResetRequested { vp },
                });
            }
            reason
        }
        VcpuExit::IoIn(port, data) => shared.devices.read(port, data),
        VcpuExit::X86Rdmsr(access) => {
            match shared.read_msr(vp, access.index) {
                Some(value) => {
                    *access.data = value;
                    *access.error = 0;
                }
                None => *access.error = 1,
            }
            ExitReason::MsrRead
        }
        VcpuExit::X86Wrmsr(access) => {
            let done = shared.write_msr(vp, access.index, access.data);
            *access.error = u8::from(!done);
            ExitReason::MsrWrite
        }
        VcpuExit::MmioRead(_, data) => {
            data.fill(0xFF);
            ExitReason::MmioRead
        }
        VcpuExit::MmioWrite(..) => ExitReason::MmioWrite,
        VcpuExit::Intr => ExitReason::Interrupted,
        VcpuExit::Shutdown => return Next::Fail(Failure::TripleFault),
        VcpuExit::InternalError => return Next::Internal,
        VcpuExit::FailEntry(reason, _) => return Next::Fail(Failure::Entry { reason }),
        other => {
            let exit = format!("{other:?}");
            return Next::Fail(Failure::Exit { exit });
        }
    };
    counters.count(reason);
    Next::Enter
}
