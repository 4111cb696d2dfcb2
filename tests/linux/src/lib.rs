//! Stock Linux kernels as guests of `host-sim`: what they must be able to do, and the program that has them do it.
//!
//! A *scenario* starts one or more machines, works in them through a root shell on their second serial port, and looks
//! at both ends. A *job* is a scenario on one kernel with a number of virtual processors. The program
//! `linux-guest-tests` reads a [`plan::Plan`], runs its jobs one after the other and tells on standard output what
//! becomes of each, in lines that [`plan::Event::from_line`] reads. It needs nothing but `/dev/kvm` and the files of
//! the plan, so that it can run on a machine or, built statically, as the only program of a small Linux.
//!
//! To add a scenario, write `src/scenarios/<name>.rs` with a `pub(super) const SCENARIO` and name it in
//! [`scenarios::ALL`].

pub mod boot_cost;
pub mod context;
pub mod draw;
pub mod guest;
pub mod iso9660;
pub mod kernel_log;
pub mod machine;
pub mod placement;
pub mod plan;
pub mod remap;
pub mod rfb;
pub mod scenario;
pub mod scenarios;
pub mod shell;
pub mod smaps;
pub mod threads;
pub mod watchdog;
