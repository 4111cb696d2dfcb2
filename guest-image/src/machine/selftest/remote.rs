//! Flushes of other processors' translations and interrupts to them, by hypercall.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hypercall::call::{FlushFlags, FlushVirtualAddressSpace, GvaRange};
use hypercall::invoke::{flush, flush_list, send_ipi};

use super::super::processor::ThisProcessor;
use super::super::runtime::MachineRuntime;
use super::super::{interrupts, per_cpu, smp, user_mode};
use super::hypervisor::{Outcome, page, parameter_page, prepare};

/// Where pages are put and replaced: nothing else is mapped above the first 512 GiB.
const PLACE: u64 = 1 << 39;
/// Entry of the top page table for that.
const TOP_INDEX: usize = 1;
/// Present, writable, and open to privilege level 3.
const OPEN: u64 = 0b111;
/// How often the page is replaced.
const ROUNDS: u64 = 40;

/// Runs both on the boot processor, against processor 1.
pub(super) fn run() -> u8 {
    let runtime = Arc::new(MachineRuntime::new());
    let outcome = prepare(&runtime).and_then(|processor| {
        interrupt_both(processor)?;
        replace_pages(&runtime, processor)
    });
    match outcome {
        Ok(()) => 0,
        Err(step) => {
            report!("failed: {step}");
            1
        }
    }
}

/// Each of the two processors takes one interrupt.
fn interrupt_both(processor: ThisProcessor) -> Outcome {
    let other = per_cpu::get(1).ok_or("processor 1")?;
    let counts =
        || [per_cpu::current(), other].map(|cpu| cpu.synic_interrupts.load(Ordering::Relaxed));
    let before = counts();
    // SAFETY: the vector has a handler, which only counts.
    unsafe { send_ipi(&processor, interrupts::SYNIC, 0b11) }.map_err(|_| "interrupt")?;
    while counts() != before.map(|count| count + 1) {
        core::hint::spin_loop();
    }
    report!("both interrupted");
    Ok(())
}

/// Puts one page after the other behind an address at which processor 1 reads. After each flush it must read nothing
/// older.
fn replace_pages(runtime: &MachineRuntime, processor: ThisProcessor) -> Outcome {
    let tables = [page(runtime)?, page(runtime)?, page(runtime)?];
    let frames = [page(runtime)?, page(runtime)?];
    let mut parameters = parameter_page(runtime)?;
    // SAFETY: reading CR3 has no effect.
    let root = unsafe { x86::controlregs::cr3() };
    let entry = |table: u64, index: usize| (table as *mut u64).wrapping_add(index);
    let [directories, directory, table] = tables.map(|page| page.page_frame << 12);
    let link = |at: *mut u64, next: u64| {
        // SAFETY: tables are pages of ours, and the root's entry is unused; all memory is identity-mapped.
        unsafe { at.write_volatile(next | OPEN) };
    };
    link(entry(directory, 0), table);
    link(entry(directories, 0), directory);
    link(entry(root & !0xFFF, TOP_INDEX), directories);
    link(entry(table, 0), frames[0].page_frame << 12);

    // The page that must be there at least, how often an older one was read, and the reader's end.
    let shared = Arc::new((AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false)));
    let reads = Arc::new(AtomicU64::new(0));
    let reader = {
        let (shared, reads) = (Arc::clone(&shared), Arc::clone(&reads));
        Box::new(move || {
            let (newest, stale, over) = &*shared;
            // Without privileges: a KVM that interprets the rest has the processor itself run that, with translations
            // that it caches.
            user_mode::run(&mut || {
                while !over.load(Ordering::Relaxed) {
                    let newest = newest.load(Ordering::SeqCst);
                    // SAFETY: a page is mapped there from before this began until after it ends.
                    let found = unsafe { (PLACE as *const u64).read_volatile() };
                    if found < newest {
                        stale.fetch_add(1, Ordering::Relaxed);
                    }
                    reads.fetch_add(1, Ordering::Release);
                }
            });
            reads.store(u64::MAX, Ordering::Release);
        })
    };
    smp::run_on(1, reader).map_err(|_| "processor 1")?;
    let await_reads = |more: u64| {
        let before = reads.load(Ordering::Acquire);
        while reads.load(Ordering::Acquire) < before + more {
            core::hint::spin_loop();
        }
    };
    for round in 1..=ROUNDS {
        await_reads(2);
        let frame = &frames[(round % 2) as usize];
        // SAFETY: the frame is ours, and not mapped at the moment.
        unsafe { frame.base.cast::<u64>().write_volatile(round) };
        link(entry(table, 0), frame.page_frame << 12);
        let input = FlushVirtualAddressSpace::new(root, FlushFlags::empty(), 0b10);
        // By space and by page in turns.
        if round % 4 < 2 {
            flush(&processor, &mut parameters, &input)
        } else {
            let range = GvaRange::new(PLACE, 1).ok_or("range")?;
            flush_list(&processor, &mut parameters, &input, &[range])
        }
        .map_err(|_| "flush")?;
        shared.0.store(round, Ordering::SeqCst);
    }
    await_reads(2);
    shared.2.store(true, Ordering::Relaxed);
    while reads.load(Ordering::Acquire) != u64::MAX {
        core::hint::spin_loop();
    }
    report!(
        "{ROUNDS} pages replaced, {} reads of old ones",
        shared.1.load(Ordering::Relaxed)
    );
    Ok(())
}
