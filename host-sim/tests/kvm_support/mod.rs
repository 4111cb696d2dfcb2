//! What the virtual-CPU tests share: skipping where KVM cannot be used, partitions, results.

#![allow(dead_code, reason = "each test program uses its own part")]

#[path = "../skip/mod.rs"]
mod skip;

use std::time::Duration;

use host_sim::memory::GuestMemory;
use host_sim::partition::kvm::{KvmConfig, KvmError, Outcome, Partition, Platform, Running};
use host_sim::serial::Capture;
use hypercall::cpuid::Recommendations;
pub(crate) use skip::skip;

/// No test takes this long; it only keeps a hanging guest from hanging the tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// The image that the build has made, or `None` where it has not.
pub(crate) fn image(test: &str) -> Option<Vec<u8>> {
    match std::env::var_os("VIRIDIAN_GUEST") {
        Some(path) => Some(std::fs::read(path).expect("VIRIDIAN_GUEST names the guest image")),
        None => {
            skip(
                test,
                "VIRIDIAN_GUEST names no guest image (run `cargo xtask test`)",
            );
            None
        }
    }
}

/// A partition and what its guest printed.
pub(crate) struct Machine {
    pub(crate) partition: Partition,
    pub(crate) console: Capture,
    pub(crate) report: Capture,
}

/// A partition, or `None` on machines without usable KVM.
pub(crate) fn machine(test: &str, vp_count: u32, ram: u64) -> Option<Machine> {
    machine_with(test, vp_count, ram, Recommendations::empty())
}

/// The same with recommendations besides the usual.
pub(crate) fn machine_with(
    test: &str,
    vp_count: u32,
    ram: u64,
    recommended: Recommendations,
) -> Option<Machine> {
    let (console, report) = (Capture::new(1 << 20), Capture::new(1 << 20));
    let config = KvmConfig {
        memory: GuestMemory::new(ram).expect("the host has memory for a small guest"),
        vp_count,
        platform: Platform::Bare,
        console: Box::new(console.clone()),
        report: Box::new(report.clone()),
        on_event: None,
    };
    match Partition::with_hv(config, |hv| hv.recommendations |= recommended) {
        Ok(partition) => Some(Machine {
            partition,
            console,
            report,
        }),
        Err(
            why @ (KvmError::Missing { .. } | KvmError::Denied { .. } | KvmError::Capability(_)),
        ) => {
            skip(test, &why.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Waits for the end of a run that is sure to end.
pub(crate) fn finish(running: &mut Running) -> Outcome {
    running
        .wait_for(PATIENCE)
        .expect("the guest comes to its end")
}

/// Waits until `condition` holds, which it is sure to.
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "the guest does not get there");
        std::thread::sleep(Duration::from_millis(1));
    }
}
