//! `viridian-guest`: the guest's program on a bare x86-64 virtual machine.
//!
//! Built for `x86_64-unknown-none` this is an ELF image for the loader that [`guest_image::boot_info`] describes; built
//! for a host it only says so.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod machine;

#[cfg(not(target_os = "none"))]
fn main() {
    println!(
        "{} {} is a bare-metal image: build it with `cargo xtask guest` and boot it with `host-sim run`",
        guest_image::boot_info::PROGRAM_NAME,
        guest_image::boot_info::PROGRAM_VERSION,
    );
}
