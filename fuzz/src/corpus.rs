//! Where fuzzing starts: small inputs that go deep, made anew by `cargo run -p fuzz-targets --bin make-corpus`.
//!
//! They are written with the same constants that the targets read them with, so that they follow when a target
//! changes. What they mean is sound: handshakes, packets, files; the damage is the fuzzer's part.

mod control_plane;
mod display;
mod files;
mod kernels;
mod rings;
mod service_hosts;
mod services;
mod storage;
mod writer;

/// One input.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The target that it is for.
    pub target: &'static str,
    /// What it is; also its file name.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// All inputs; the same each time.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, list: Vec<(String, Vec<u8>)>| {
        seeds.extend(list.into_iter().map(|(name, bytes)| Seed {
            target,
            name,
            bytes,
        }));
    };
    add("display_host", display::host());
    add("display_wire", display::wire());
    add("elf", files::elf());
    add("ic_guest", services::guest());
    add("ic_host", services::host());
    add("ic_host", service_hosts::hosts());
    add("ic_wire", service_hosts::messages());
    add("linux", kernels::seeds());
    add("rfb", display::rfb());
    add("ring_consumer", rings::seeds());
    add("vhd", files::vhd());
    add("vmbus_guest_messages", control_plane::guest());
    add("vmbus_host_messages", control_plane::host());
    add("vstor_guest", storage::guest());
    add("vstor_host", storage::host());
    seeds
}
