//! Interrupts from the shim: messages to the in-kernel local APICs.

use std::sync::Arc;

use kvm_bindings::kvm_msi;

use super::vm::CurrentVm;
use crate::hv::InterruptSink;

const MSI_ADDRESS: u32 = 0xFEE0_0000;

/// Raises interrupts by `KVM_SIGNAL_MSI`. A processor's local APIC identifier is its index.
pub(super) struct MsiSink {
    vm: Arc<CurrentVm>,
    vp_count: u32,
}

impl MsiSink {
    pub(super) fn new(vm: Arc<CurrentVm>, vp_count: u32) -> Self {
        Self { vm, vp_count }
    }
}

impl InterruptSink for MsiSink {
    fn inject(&self, vp: u32, vector: u8) {
        // Identifiers of eight bits: the machine has no more processors than that, and 255 would mean all of them.
        if vp >= self.vp_count {
            return tracing::debug!(vp, vector, "no such virtual processor");
        }
        let message = kvm_msi {
            address_lo: MSI_ADDRESS | (vp & 0xFF) << 12,
            data: u32::from(vector),
            ..kvm_msi::default()
        };
        // Zero or an error means that no local APIC took it: the processor's is off, or it has not started.
        match self.vm.get().signal_msi(message) {
            Ok(0) | Err(_) => tracing::debug!(vp, vector, "no local APIC takes the interrupt"),
            Ok(_) => {}
        }
    }
}
