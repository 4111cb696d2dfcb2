//! `host-sim`: runs Hyper-V guests on Linux.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use host_sim::output::Standard;
use tracing_subscriber::EnvFilter;

use cli::arguments::{Arguments, Command};

fn main() -> ExitCode {
    // Logs go to standard error: standard output belongs to the guest's console and the report.
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error")),
        )
        .with_writer(|| Standard::Error)
        .init();
    let result = match Arguments::parse().command {
        Command::Run(options) => cli::run::run(&options),
        Command::Probe { json } => cli::probe::run(json),
        Command::Ctl(options) => cli::ctl::run(&options),
        Command::Switch(options) => cli::switch::run(&options),
        Command::Check { image } => cli::check::run(&image),
        Command::Create(arguments) => cli::create::run(&arguments),
    };
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = Standard::Error.write_all(format!("host-sim: {error:#}\n").as_bytes());
            ExitCode::from(error.exit_code())
        }
    };
    Standard::drain();
    code
}
