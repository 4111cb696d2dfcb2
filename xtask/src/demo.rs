//! `cargo xtask demo`: the whole stack at work on one disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Error, cargo, check, say};
use crate::{guest, sample_disk};

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A raw, fixed or dynamic VHD image of your own; it is only read
    #[arg(long)]
    disk: Option<PathBuf>,
    /// Where the guest runs: on KVM, in process, or on what is fit for it
    #[arg(long, default_value = "auto", value_parser = ["auto", "kvm", "inproc"])]
    backend: String,
    /// Virtual processors
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// The default disk, in MiB.
const DISK_MEBIBYTES: u64 = 256;

/// The default disk for a KVM that only emulates the processor, in MiB.
const SMALL_DISK_MEBIBYTES: u64 = 4;

/// Builds guest and host, makes a disk where none is given, and runs the host.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let guest = guest::build()?;
    say("building the host");
    check(cargo().args(["build", "--release", "--quiet", "-p", "host-sim"]))?;
    let host = run::target_dir().join("release/host-sim");

    let probe = probe(&host)?;
    let backend = match options.backend.as_str() {
        "auto" if probe.fit => "kvm",
        "auto" => "inproc",
        chosen => chosen,
    };
    let disk = match &options.disk {
        Some(disk) => disk.clone(),
        None => make_disk(if backend == "kvm" && probe.emulates {
            SMALL_DISK_MEBIBYTES
        } else {
            DISK_MEBIBYTES
        })?,
    };

    let mut command = Command::new(host);
    command.arg("run").arg("--guest").arg(guest);
    command.arg("--disk").arg(with_option(&disk, "ro"));
    command.arg("--disk").arg(with_option(&disk, "scratch"));
    // The word as the user gave it: the report tells what was probed and chosen.
    command.args([
        "--backend",
        &options.backend,
        "--cpus",
        &options.cpus.to_string(),
        "--demo",
    ]);
    if options.json {
        command.arg("--json");
    }
    check(&mut command)
}

fn with_option(disk: &Path, option: &str) -> std::ffi::OsString {
    let mut argument = disk.as_os_str().to_owned();
    argument.push(",");
    argument.push(option);
    argument
}

struct Probe {
    /// KVM is usable and runs at the speed of a CPU.
    fit: bool,
    /// KVM is usable but only emulates.
    emulates: bool,
}

fn probe(host: &Path) -> Result<Probe, Error> {
    let output = Command::new(host).args(["probe", "--json"]).output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::new(format!("the host's probe printed no report: {error}")))?;
    let is = |key: &str| {
        report
            .get(key)
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(false)
    };
    Ok(Probe {
        fit: is("usable") && !is("emulates"),
        emulates: is("usable") && is("emulates"),
    })
}

fn make_disk(mebibytes: u64) -> Result<PathBuf, Error> {
    let folder = run::target_dir().join("demo");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("disk-{mebibytes}.img"));
    say(&format!(
        "making a GPT disk of {mebibytes} MiB with a FAT file system: {}",
        path.display()
    ));
    sample_disk::create(&path, mebibytes)
        .map_err(|error| Error::new(format!("cannot make {}: {error}", path.display())))?;
    Ok(path)
}
