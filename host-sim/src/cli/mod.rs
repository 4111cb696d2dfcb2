//! The command-line program.

/// Prints a line on standard output. That nobody reads it is no failure, least of all the guest's, whose processors
/// print too: `println!` would panic.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

pub(crate) mod arguments;
mod backend;
pub(crate) mod check;
mod control;
mod crash;
pub(crate) mod create;
pub(crate) mod ctl;
mod demo;
mod error;
mod file;
mod guest;
mod inproc_machine;
mod linux;
pub(crate) mod probe;
mod report;
pub(crate) mod run;
mod setup;
pub(crate) mod switch;

pub(crate) use error::Error;
