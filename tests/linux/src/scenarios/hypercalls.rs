//! Hypercalls in place of interrupts between processors.

use std::time::Duration;

use hypercall::call::CallCode;

use crate::context::Context;
use crate::guest::Guest;
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

const FLUSHES: [CallCode; 4] = [
    CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE,
    CallCode::FLUSH_VIRTUAL_ADDRESS_LIST,
    CallCode::FLUSH_VIRTUAL_ADDRESS_SPACE_EX,
    CallCode::FLUSH_VIRTUAL_ADDRESS_LIST_EX,
];
const INTERRUPTS: [CallCode; 2] = [
    CallCode::SEND_SYNTHETIC_CLUSTER_IPI,
    CallCode::SEND_SYNTHETIC_CLUSTER_IPI_EX,
];

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
    let counts = |guest: &Guest, codes: &[CallCode]| -> Result<u64, Trouble> {
        let state = guest.ctl(&["inspect"])?;
        let calls = &state["hypervisor"]["counters"]["hypercalls"];
        Ok(codes
            .iter()
            .filter_map(|code| calls[code.0.to_string()].as_u64())
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
