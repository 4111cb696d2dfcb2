//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use host_sim::serial::Endpoint;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs Hyper-V guests on Linux, without Windows and without Hyper-V support in the kernel.
#[derive(Parser)]
#[command(name = "host-sim", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start a guest and serve its devices until it stops
    Run(Box<RunOptions>),
    /// Tell whether KVM is usable here and how fast it runs a guest
    Probe {
        /// Print the answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a VHD image without changing it
    Check {
        /// The image
        image: PathBuf,
    },
}

/// Where the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendChoice {
    /// KVM where it runs a guest at the speed of the CPU, in process elsewhere
    Auto,
    /// As threads of this process: only for guests whose program is linked into it
    Inproc,
    /// On KVM
    Kvm,
}

/// Something that is there or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// There
    On,
    /// Not there
    Off,
}

#[derive(Args, Debug)]
pub(crate) struct RunOptions {
    /// The guest: an ELF64 image
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "kernel",
        conflicts_with = "kernel"
    )]
    pub(crate) guest: Option<PathBuf>,
    /// A stock kernel to boot instead of a guest image: bzImage, or vmlinux as ELF64
    #[arg(long, value_name = "FILE", conflicts_with_all = ["demo", "json"])]
    pub(crate) kernel: Option<PathBuf>,
    /// The kernel's initial RAM disk
    #[arg(long, value_name = "FILE", conflicts_with = "guest")]
    pub(crate) initrd: Option<PathBuf>,
    /// What the kernel's first serial port is connected with: none, stdio, file:PATH or unix:PATH
    #[arg(
        long,
        value_name = "ENDPOINT",
        default_value = "stdio",
        requires = "kernel"
    )]
    pub(crate) serial1: Endpoint,
    /// What its second serial port is connected with
    #[arg(
        long,
        value_name = "ENDPOINT",
        default_value = "none",
        requires = "kernel"
    )]
    pub(crate) serial2: Endpoint,
    /// End the run when the kernel resets the machine, instead of booting it again
    #[arg(long, conflicts_with = "guest")]
    pub(crate) no_reboot: bool,
    /// Whether the kernel finds Hyper-V; without it there is no VMBus and no device on it
    #[arg(long, value_enum, default_value = "on", conflicts_with = "guest")]
    pub(crate) hyperv: Switch,
    /// A disk image: PATH[,ro][,ide][,scratch][,format=raw|vhd][,sector=512|4096]; may be repeated
    ///
    /// `ro` only reads the image, `scratch` lets the guest write to a private copy that is thrown away,
    /// `ide` offers it as an accelerated IDE disk instead of a LUN of the SCSI controller.
    #[arg(long = "disk", value_name = "PATH[,OPTION...]")]
    pub(crate) disks: Vec<DiskArgument>,
    /// Virtual processors
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// Guest memory, with K, M or G
    #[arg(long = "mem", value_name = "SIZE", default_value = "128M")]
    pub(crate) memory: Size,
    /// Where the guest runs
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) backend: BackendChoice,
    /// Words for the guest's command line
    #[arg(long, alias = "cmdline", value_name = "TEXT", default_value = "")]
    pub(crate) append: String,
    /// Highest VMBus version that the host accepts, such as 5.3
    #[arg(long, value_name = "VERSION")]
    pub(crate) vmbus_version: Option<String>,
    /// Record the bus in this file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Run the guest's demo and print its report, ordering the guest to shut down at the end
    #[arg(long)]
    pub(crate) demo: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Stop the guest by force after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

/// One `--disk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskArgument {
    pub(crate) path: PathBuf,
    pub(crate) read_only: bool,
    pub(crate) ide: bool,
    pub(crate) scratch: bool,
    pub(crate) format: Option<String>,
    pub(crate) sector_size: Option<u32>,
}

impl FromStr for DiskArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let path = words.next().unwrap_or_default();
        if path.is_empty() {
            return Err("the image's path is missing".to_owned());
        }
        let mut disk = Self {
            path: path.into(),
            read_only: false,
            ide: false,
            scratch: false,
            format: None,
            sector_size: None,
        };
        for word in words {
            match word.split_once('=') {
                None if word == "ro" => disk.read_only = true,
                None if word == "ide" => disk.ide = true,
                None if word == "scratch" => disk.scratch = true,
                Some(("format", format @ ("raw" | "vhd"))) => disk.format = Some(format.to_owned()),
                Some(("sector", "512")) => disk.sector_size = Some(512),
                Some(("sector", "4096")) => disk.sector_size = Some(4096),
                _ => {
                    return Err(format!(
                        "unknown option `{word}`; there are ro, ide, scratch, format=raw|vhd and sector=512|4096"
                    ));
                }
            }
        }
        if disk.read_only && disk.scratch {
            return Err("`ro` and `scratch` exclude each other".to_owned());
        }
        Ok(disk)
    }
}

/// A number of bytes, written with an optional K, M or G.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, shift) = match text.char_indices().last() {
            Some((at, 'k' | 'K')) => (&text[..at], 10),
            Some((at, 'm' | 'M')) => (&text[..at], 20),
            Some((at, 'g' | 'G')) => (&text[..at], 30),
            _ => (text, 0),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| format!("`{text}` is not a size such as 128M"))?;
        number
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!("128M".parse(), Ok(Size(128 << 20)));
        assert_eq!("4096".parse(), Ok(Size(4096)));
        assert_eq!("2g".parse(), Ok(Size(2 << 30)));
        for text in ["", "M", "-1", "1T", "99999999999G", "1.5M"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn disks_are_read() {
        let disk: DiskArgument = "a/b.img,ro,ide,format=raw,sector=4096".parse().unwrap();
        assert_eq!(disk.path, PathBuf::from("a/b.img"));
        assert!(disk.read_only && disk.ide && !disk.scratch);
        assert_eq!(
            (disk.format.as_deref(), disk.sector_size),
            (Some("raw"), Some(4096))
        );
        for text in [
            "",
            ",ro",
            "a,rw",
            "a,sector=513",
            "a,format=qcow2",
            "a,ro,scratch",
        ] {
            assert!(text.parse::<DiskArgument>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
