//! Hyper-V as one virtual processor sees it.
//!
//! A guest of Hyper-V, or of a host that offers the same interface, finds out
//! what there is ([`cpuid`]), says who it is and installs the hypercall page
//! ([`identity`], [`page`]), makes hypercalls ([`call`], [`invoke`]), receives
//! messages and event flags ([`synic`]), reads time and sets timers ([`time`],
//! [`stimer`]), tells that it has crashed ([`crash`]), and gives everything
//! back at the end ([`teardown`]). Wire facts follow the Hypervisor Top-Level
//! Functional Specification (TLFS).
//!
//! The crate allocates nothing, waits for nothing and has no state of its own.
//! Everything goes through the [`Processor`] trait, which stands for the
//! processor that runs the caller: [`arch::x86_64::Cpu`] is the real one; tests
//! and in-process hypervisors bring theirs.
//!
//! Registers, call inputs and shared pages are types of use to a host as well:
//! [`msr`], [`cpuid`], [`call`], and the page types of [`synic`] and [`time`].
//!
//! # Trust
//!
//! What the hypervisor says is checked. Codes and flags without a name survive,
//! a value that cannot be is an error that names it, every loop has an end that
//! the hypervisor cannot postpone, and shared pages are touched through atomics
//! alone.
//!
//! # Example
//!
//! Bringing one virtual processor up, up to the point where VMBus takes over:
//!
//! ```
//! use core::ptr::NonNull;
//! use hypercall::cpuid::Discovery;
//! use hypercall::identity::GuestOsId;
//! use hypercall::synic::{SintIndex, Source, Synic, SynicPage, SynicPages};
//! use hypercall::{MsrFault, Processor, invoke, page, vp_index};
//!
//! /// A page of the kernel, and where it lies in physical memory.
//! struct Page {
//!     base: NonNull<u8>,
//!     frame: u64,
//! }
//!
//! /// # Safety
//! ///
//! /// The pages must be the caller's to give away, and stay allocated.
//! /// Interrupts are off, and there is a handler for the vector.
//! unsafe fn bring_up<P: Processor>(
//!     processor: &P,
//!     [code, messages, event_flags]: [Page; 3],
//!     vector: u8,
//! ) -> Result<Synic, Box<dyn std::error::Error>> {
//!     let discovery = Discovery::read(processor)?;
//!     println!("Hyper-V {}, VP {}", discovery.version, vp_index(processor)?);
//!
//!     // Once in the partition. The kernel maps the page executable and hands
//!     // it to its processor type: `Cpu::with_hypercall_page`.
//!     unsafe { page::install(processor, GuestOsId::DEFAULT, code.frame)? };
//!
//!     // On each virtual processor.
//!     let give = |page: Page| SynicPage {
//!         base: page.base,
//!         page_frame: page.frame,
//!     };
//!     let pages = SynicPages {
//!         messages: give(messages),
//!         event_flags: give(event_flags),
//!     };
//!     Ok(unsafe { Synic::enable(processor, pages, Source::vmbus(vector, &discovery))? })
//! }
//!
//! /// What the handler of the vector does, before it ends the interrupt.
//! fn on_interrupt<P: Processor>(processor: &P, synic: &Synic) {
//!     while let Ok(Some(message)) = synic.read_message(processor, SintIndex::VMBUS) {
//!         println!("message of {} bytes", message.payload().len());
//!     }
//!     synic.scan_event_flags(SintIndex::VMBUS, |channel| println!("signal for {channel}"));
//! }
//!
//! /// After putting something into a channel's ring.
//! fn signal<P: Processor>(processor: &P, connection_id: u32) {
//!     if let Err(status) = invoke::signal_event(processor, connection_id, 0) {
//!         println!("channel is gone: {status}");
//!     }
//! }
//! # // A machine without a hypervisor, to run the example on.
//! # struct BareMetal;
//! # unsafe impl Processor for BareMetal {
//! #     fn cpuid(&self, _: u32, _: u32) -> hypercall::CpuidResult {
//! #         Default::default()
//! #     }
//! #     fn read_msr(&self, msr: u32) -> Result<u64, MsrFault> {
//! #         Err(MsrFault { msr })
//! #     }
//! #     unsafe fn write_msr(&self, msr: u32, _: u64) -> Result<(), MsrFault> {
//! #         Err(MsrFault { msr })
//! #     }
//! #     unsafe fn hypercall(&self, _: u64, _: u64, _: u64) -> u64 {
//! #         2
//! #     }
//! #     fn tsc(&self) -> u64 {
//! #         0
//! #     }
//! # }
//! # let pages = [1, 2, 3].map(|frame| Page { base: NonNull::dangling(), frame });
//! # let result = unsafe { bring_up(&BareMetal, pages, 0xF3) };
//! # assert_eq!(result.unwrap_err().to_string(), "CPUID shows no hypervisor");
//! # signal(&BareMetal, 1);
//! # let _ = on_interrupt::<BareMetal>;
//! ```
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

#[cfg(test)]
extern crate std;

pub mod arch;
pub mod assist;
pub mod call;
pub mod cpuid;
pub mod crash;
pub mod identity;
pub mod invoke;
#[cfg(test)]
mod mock;
pub mod msr;
pub mod page;
mod processor;
pub mod stimer;
pub mod synic;
pub mod teardown;
pub mod time;

pub use processor::{CpuidResult, MsrFault, Processor, vp_index};

/// Size of a page: of the hypercall page, the SynIC pages and everything else
/// that is shared by page frame number.
pub const PAGE_SIZE: usize = 4096;
