//! The guest's time-stamp counter as the shim's clock, where it can be had exactly.

use std::sync::Arc;

use kvm_bindings::{KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, KVMIO, kvm_device_attr};
use kvm_ioctls::{Cap, Kvm, VcpuFd};
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

use crate::hv::{Clock, HostTscClock, MonotonicClock};

/// Makes every processor's counter the host's own, if KVM and host allow, and gives the clock that it then is.
///
/// Otherwise the shim has a clock that guests cannot read by themselves, and offers them no reference TSC page; and if
/// not even the rate of their counter is known, no rate either.
pub(super) fn shared_clock(kvm: &Kvm, processors: &[VcpuFd]) -> Arc<dyn Clock> {
    match exact_counter(kvm, processors) {
        Some(clock) => Arc::new(clock),
        None => {
            tracing::debug!(
                "guests get no time-stamp counter page: the counter's offset is unknown"
            );
            Arc::new(MonotonicClock::beside(counter_rate(kvm, processors)))
        }
    }
}

fn exact_counter(kvm: &Kvm, processors: &[VcpuFd]) -> Option<HostTscClock> {
    let rate = counter_rate(kvm, processors)?;
    let mut processors = processors.iter();
    processors
        .all(|processor| set_offset(processor, 0))
        .then(|| HostTscClock::with_offset(rate, 0))
}

/// Counts per second of all processors' counters.
fn counter_rate(kvm: &Kvm, processors: &[VcpuFd]) -> Option<u64> {
    // Refuses hosts whose own counter is no clock, neither by the processor's word nor by the kernel's.
    if HostTscClock::new().is_err() && !kernel_trusts_counter() {
        return None;
    }
    if !kvm.check_extension(Cap::GetTscKhz) {
        return None;
    }
    let rate = |processor: &VcpuFd| processor.get_tsc_khz().ok().filter(|&rate| rate > 0);
    let kilohertz = rate(processors.first()?)?;
    let mut others = processors.iter();
    others
        .all(|processor| rate(processor) == Some(kilohertz))
        .then_some(u64::from(kilohertz) * 1000)
}

/// Whether the host's kernel has made the counter its own clock. It does so in virtual machines whose processor
/// promises nothing, once it has watched the counter or was told to rely on it.
fn kernel_trusts_counter() -> bool {
    const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    std::fs::read_to_string(CLOCK_SOURCE).is_ok_and(|name| name.trim() == "tsc")
}

// Processors have attributes as devices do; the crate offers the call for devices only.
ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, KVMIO, 0xE1, kvm_device_attr);

/// Sets the difference between the guest's counter and the host's; false if KVM cannot.
fn set_offset(processor: &VcpuFd, offset: u64) -> bool {
    let attribute = kvm_device_attr {
        flags: 0,
        group: KVM_VCPU_TSC_CTRL,
        attr: u64::from(KVM_VCPU_TSC_OFFSET),
        addr: (&raw const offset) as u64,
    };
    // SAFETY: the kernel reads the attribute and the eight bytes at `addr`, both of which live through the call.
    unsafe { ioctl_with_ref(processor, KVM_SET_DEVICE_ATTR(), &attribute) == 0 }
}
