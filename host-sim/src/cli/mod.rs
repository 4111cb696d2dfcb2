//! The command-line program.

pub(crate) mod arguments;
mod backend;
pub(crate) mod check;
mod demo;
mod error;
mod guest;
mod inproc_machine;
pub(crate) mod probe;
mod report;
pub(crate) mod run;
mod setup;

pub(crate) use error::Error;
