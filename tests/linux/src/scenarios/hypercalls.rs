//! Hypercalls in place of interrupts between processors.

use std::time::Duration;

use crate::context::Context;
use crate::scenario::{CLOUD, Scenario, Trouble, ensure};

/// A guest that is recommended to flush and to interrupt by hypercall.
pub(super) const SCENARIO: Scenario = Scenario {
    name: "hypercalls",
    about: "a guest told so flushes other processors' translations and interrupts them by hypercall, and none is stale",
    kernels: CLOUD,
    cpus: &[2],
    limit: Duration::from_secs(60),
    run,
};

/// FlushVirtualAddressSpace and FlushVirtualAddressList, and the same for sets of processors.
const FLUSHES: [u16; 4] = [0x02, 0x03, 0x13, 0x14];
/// SendSyntheticClusterIpi, and the same for sets of processors.
const INTERRUPTS: [u16; 2] = [0x0B, 0x15];

fn run(context: &mut Context) -> Result<(), Trouble> {
    let program = context.own_program()?;
    let machine = context
        .machine()
        .disk(&program, &["ro"])
        .arguments(["--recommend", "tlb-flush,cluster-ipi"]);
    let mut guest = context.start(&machine)?;
    guest.has_said(&[
        "Hyper-V: Using IPI hypercalls",
        "Hyper-V: Using hypercall for remote TLB flush",
    ])?;
    let disk = guest.disk(0)?;
    guest.sh(&format!(
        "cat /dev/{disk} > /tmp/remap; chmod +x /tmp/remap"
    ))?;
    let counts = |guest: &crate::guest::Guest, codes: &[u16]| -> Result<u64, Trouble> {
        let state = guest.ctl(&["inspect"])?;
        let calls = &state["hypervisor"]["counters"]["hypercalls"];
        Ok(codes
            .iter()
            .filter_map(|code| calls[code.to_string()].as_u64())
            .sum())
    };
    let before = [counts(&guest, &FLUSHES)?, counts(&guest, &INTERRUPTS)?];
    let rounds = if context.is_slow() { 1000 } else { 50_000 };
    guest.sh(&format!("/tmp/remap --remap {rounds}"))?;
    let flushes = counts(&guest, &FLUSHES)? - before[0];
    let interrupts = counts(&guest, &INTERRUPTS)?;
    context.note(format!(
        "{flushes} flushes by hypercall for {rounds} pages replaced under a reader, {interrupts} interrupts in all"
    ));
    ensure(flushes >= rounds, || {
        format!("only {flushes} flushes by hypercall for {rounds} pages replaced")
    })?;
    ensure(interrupts > 0, || {
        "no processor was interrupted by hypercall".to_owned()
    })
}
