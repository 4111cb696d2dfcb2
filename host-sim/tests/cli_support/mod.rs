//! What the tests of the command line share.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The guest image that `cargo xtask test` has built.
pub(crate) fn guest_image() -> Option<PathBuf> {
    std::env::var_os("VIRIDIAN_GUEST")
        .map(PathBuf::from)
        .filter(|path| path.is_file())
}

/// Says on the real standard error, past the test harness, that a test was left out and why.
pub(crate) fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

/// Runs the host to its end.
pub(crate) fn host_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_host-sim"))
        .args(arguments)
        .output()
        .unwrap()
}
