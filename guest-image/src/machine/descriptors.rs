//! Segments: a GDT for privilege levels 0 and 3, and a task state segment for stacks that are known to be good.

use core::cell::UnsafeCell;

use guest_image::boot_info::MOST_PROCESSORS;
use x86::dtables::{DescriptorTablePointer, lgdt};
use x86::segmentation::{SegmentSelector, load_cs, load_ds, load_es, load_fs, load_gs, load_ss};

use super::per_cpu;

/// Selector of the 64-bit code segment.
pub(super) const CODE: u16 = 0x08;
/// Selector of the data segment.
pub(super) const DATA: u16 = 0x10;
/// Selector of the data segment of privilege level 3, with that level requested.
pub(super) const USER_DATA: u16 = 0x18 | 3;
/// Selector of the 64-bit code segment of privilege level 3, with that level requested.
pub(super) const USER_CODE: u16 = 0x20 | 3;
const TASK: u16 = 0x28;
const DESCRIPTOR_COUNT: usize = 7;

const CODE_DESCRIPTOR: u64 = 0x00AF_9B00_0000_FFFF;
const DATA_DESCRIPTOR: u64 = 0x00CF_9300_0000_FFFF;
/// What makes a segment one of privilege level 3.
const LEVEL_3: u64 = 3 << 45;
/// Type (available 64-bit TSS) and present bit.
const TASK_ATTRIBUTES: u64 = 0x89 << 40;

/// Slot of the interrupt stack table that double faults, page faults and NMIs use: the ordinary stack may be what is
/// broken.
pub(super) const FAULT_STACK: u8 = 1;
const FAULT_STACK_BYTES: usize = 16 * 1024;

/// For what interrupts privilege level 3.
const PRIVILEGE_STACK_BYTES: usize = 16 * 1024;

#[repr(C, packed(4))]
struct TaskState {
    reserved0: u32,
    privilege_stacks: [u64; 3],
    reserved1: u64,
    interrupt_stacks: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map_base: u16,
}

/// One processor's tables: the processor itself marks its task segment busy, so they cannot be shared.
#[repr(C, align(16))]
struct Tables {
    fault_stack: [u8; FAULT_STACK_BYTES],
    privilege_stack: [u8; PRIVILEGE_STACK_BYTES],
    task_state: TaskState,
    gdt: [u64; DESCRIPTOR_COUNT],
}

struct Slot(UnsafeCell<Tables>);

// SAFETY: each slot is written once, by the processor that it belongs to, before that processor loads it.
unsafe impl Sync for Slot {}

static TABLES: [Slot; MOST_PROCESSORS as usize] = [const {
    Slot(UnsafeCell::new(Tables {
        fault_stack: [0; FAULT_STACK_BYTES],
        privilege_stack: [0; PRIVILEGE_STACK_BYTES],
        task_state: TaskState {
            reserved0: 0,
            privilege_stacks: [0; 3],
            reserved1: 0,
            interrupt_stacks: [0; 7],
            reserved2: 0,
            reserved3: 0,
            io_map_base: 0,
        },
        // All zero, so that the table takes no room in the image.
        gdt: [0; DESCRIPTOR_COUNT],
    }))
}; MOST_PROCESSORS as usize];

/// Gives this processor its own GDT, task state and per-processor data.
pub(super) fn load(index: usize) {
    let tables = TABLES[index].0.get();
    // SAFETY: this processor alone uses its slot and has not loaded it yet (see `Sync`). The descriptors are valid
    // flat 64-bit segments and an available TSS; `static`s never move.
    unsafe {
        let stack_top = (&raw mut (*tables).fault_stack) as u64 + FAULT_STACK_BYTES as u64;
        (*tables).task_state.interrupt_stacks[usize::from(FAULT_STACK) - 1] = stack_top;
        (*tables).task_state.privilege_stacks[0] =
            (&raw mut (*tables).privilege_stack) as u64 + PRIVILEGE_STACK_BYTES as u64;
        (*tables).task_state.io_map_base = size_of::<TaskState>() as u16;
        (*tables).gdt[usize::from(CODE / 8)] = CODE_DESCRIPTOR;
        (*tables).gdt[usize::from(DATA / 8)] = DATA_DESCRIPTOR;
        (*tables).gdt[usize::from(USER_DATA / 8)] = DATA_DESCRIPTOR | LEVEL_3;
        (*tables).gdt[usize::from(USER_CODE / 8)] = CODE_DESCRIPTOR | LEVEL_3;
        let base = (&raw const (*tables).task_state) as u64;
        let limit = size_of::<TaskState>() as u64 - 1;
        (*tables).gdt[usize::from(TASK / 8)] =
            limit | (base & 0xFF_FFFF) << 16 | TASK_ATTRIBUTES | (base >> 24 & 0xFF) << 56;
        (*tables).gdt[usize::from(TASK / 8) + 1] = base >> 32;
        lgdt(&DescriptorTablePointer {
            base: (&raw const (*tables).gdt).cast::<u64>(),
            limit: (size_of::<[u64; DESCRIPTOR_COUNT]>() - 1) as u16,
        });
        load_cs(SegmentSelector::from_raw(CODE));
        load_ss(SegmentSelector::from_raw(DATA));
        load_ds(SegmentSelector::from_raw(DATA));
        load_es(SegmentSelector::from_raw(DATA));
        // On the way to privilege level 3 the processor empties registers that name segments of level 0, and GS must
        // keep its base.
        load_fs(SegmentSelector::from_raw(0));
        load_gs(SegmentSelector::from_raw(0));
        x86::task::load_tr(SegmentSelector::from_raw(TASK));
    }
    per_cpu::bind(index);
}
