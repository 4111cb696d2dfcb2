//! The command-line program.

/// Prints a line on standard output, for commands that have nothing else to do. That nobody reads it is no failure:
/// `println!` would panic.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// Prints a line on standard output while a guest runs, whose processors print there, too: nobody waits for a reader
/// that does not read.
macro_rules! announce {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let line = format!("{}\n", format_args!($($text)*));
        let _ = host_sim::output::Standard::Output.write_all(line.as_bytes());
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
