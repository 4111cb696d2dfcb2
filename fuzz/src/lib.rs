//! The fuzz targets of Viridian: what the fuzzers call, as functions that ordinary tests call too.
//!
//! Each target takes any bytes, reads them as a sequence of steps, and plays a hostile peer: the host against
//! the guest's ends, the guest against the host's. Nothing the bytes say may make a target panic, allocate
//! without bound or run on; beyond that, each one checks what its module promises. A target keeps no state
//! between calls.
//!
//! | Target | Under attack | By |
//! |---|---|---|
//! | `ring_consumer` | both ends of a ring | a peer that writes any word at any time |
//! | `vmbus_host_messages` | the guest's connection | the host's messages, between the guest's own requests |
//! | `vmbus_guest_messages` | the host's VMBus server | the guest's messages, with devices coming and going |
//! | `vstor_host` | the host's storage controller | a guest with a ring, its memory and SCSI commands |
//! | `vstor_guest` | the guest's storage initialisation, queue and scan | the host's packets |
//! | `ic_guest` | the guest's integration services | the host's frames |
//! | `ic_host` | the host's integration services | the guest's frames |
//! | `ic_wire` | what the services' messages say, on both ends | the other end |
//! | `display_wire` | both ends' video, keyboard and mouse messages | the other end |
//! | `display_host` | the host's screen, keyboard and mouse | the guest's packets |
//! | `rfb` | the VNC server | a client's bytes |
//! | `vhd` | VHD images and their checker | the file |
//! | `elf` | the ELF loader | the file |
//! | `linux` | the kernel loader | the file |
//!
//! Every committed input in `corpus/` also runs as an ordinary test. Most are made by [`corpus`]; those whose
//! name starts with `found-` once broke something.

pub mod allocation;
mod channel;
pub mod corpus;
mod display_host;
mod display_wire;
mod elf;
mod ic_guest;
mod ic_host;
mod ic_wire;
mod input;
mod linux;
mod rfb;
mod ring_consumer;
mod vhd;
mod vmbus_guest_messages;
mod vmbus_host_messages;
mod vstor_guest;
mod vstor_host;

/// A fuzz target: takes any bytes and returns, or panics when something is broken.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("display_host", display_host::run),
    ("display_wire", display_wire::run),
    ("elf", elf::run),
    ("ic_guest", ic_guest::run),
    ("ic_host", ic_host::run),
    ("ic_wire", ic_wire::run),
    ("linux", linux::run),
    ("rfb", rfb::run),
    ("ring_consumer", ring_consumer::run),
    ("vhd", vhd::run),
    ("vmbus_guest_messages", vmbus_guest_messages::run),
    ("vmbus_host_messages", vmbus_host_messages::run),
    ("vstor_guest", vstor_guest::run),
    ("vstor_host", vstor_host::run),
];

/// The target with this name.
#[must_use]
pub fn find(name: &str) -> Option<Target> {
    TARGETS
        .iter()
        .find(|(target, _)| *target == name)
        .map(|(_, run)| *run)
}
