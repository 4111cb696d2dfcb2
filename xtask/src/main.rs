//! The project's commands: demo, tests, benches, fuzzing and the set-up that they need.
//!
//! Every command does its own set-up on a fresh machine and says what it does.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod demo;
mod e2e;
mod fault_table;
mod fuzz;
mod guest;
mod run;
mod sample_disk;
mod test;
mod toolchain;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Viridian's demo, tests, benches and fuzzers",
    version
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot the guest on the host, move a disk's bytes through the whole stack and show the report
    Demo(demo::Options),
    /// Run everything that guards the main branch
    Test(test::Options),
    /// Run stock Debian kernels as guests: on KVM where it is real, else nested in QEMU
    E2e(e2e::Options),
    /// Measure the figures that the design states and print them beside ours
    Bench(bench::Options),
    /// Fuzz one parser with libFuzzer
    Fuzz(fuzz::Options),
    /// Build the bare-metal guest and print where it is
    Guest,
    /// Make the demo's disk: GPT, one FAT partition with files
    SampleDisk {
        /// Where to write the image
        path: PathBuf,
        /// Size in MiB (at least 4)
        #[arg(long, default_value_t = 256)]
        mebibytes: u64,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::E2e(options) => e2e::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Guest => guest::build().map(|path| println!("{}", path.display())),
        Command::SampleDisk { path, mebibytes } => sample_disk::create(&path, mebibytes)
            .map_err(|error| run::Error::new(error.to_string())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
