//! How a test says that this machine cannot do what it needs.
//!
//! `cargo xtask test` reads these lines: a test that was left out is not counted as one that ran. They go to the real
//! standard error, past the test harness, which would swallow them.

#![allow(dead_code, reason = "each test program uses a part")]

use std::io::Write;

/// The test that calls this does nothing: `what` is missing, because of `why`.
pub(crate) fn skip(what: &str, why: &str) {
    say("", what, why);
}

/// The test that calls this leaves a part of its work out.
pub(crate) fn skip_part(what: &str, why: &str) {
    say("part of ", what, why);
}

fn say(part: &str, what: &str, why: &str) {
    // The harness names a test's thread after the test.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // One write, so that lines of tests that run beside each other stay whole.
    let line = format!("skipped: {part}{test}: {what}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
