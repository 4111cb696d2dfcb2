//! What the tests of the command line share.

#![allow(dead_code, reason = "each test uses a part")]

#[path = "../skip/mod.rs"]
mod skip;

use std::path::PathBuf;
use std::process::{Command, Output};

#[allow(unused_imports, reason = "each test uses a part")]
pub(crate) use skip::{skip, skip_part};

/// The guest image that `cargo xtask test` has built.
pub(crate) fn guest_image() -> Option<PathBuf> {
    std::env::var_os("VIRIDIAN_GUEST")
        .map(PathBuf::from)
        .filter(|path| path.is_file())
}

/// Runs the host to its end.
pub(crate) fn host_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_host-sim"))
        .args(arguments)
        .output()
        .unwrap()
}
