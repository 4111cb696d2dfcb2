//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use host_sim::disk::DiskArgument;
use host_sim::display::rfb::ListenAddress;
use host_sim::host_version::HostVersion;
use host_sim::net::NicArgument;
use host_sim::serial::Endpoint;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hypercall::cpuid::Recommendations;

use super::ctl::CtlOptions;
use super::switch::SwitchOptions;

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
    /// Have a machine that runs do something
    Ctl(CtlOptions),
    /// Serve a network switch for guests until SIGINT or SIGTERM
    Switch(SwitchOptions),
    /// Check a VHD image without changing it
    Check {
        /// The image
        image: PathBuf,
    },
    /// Make an empty image
    Create(CreateArguments),
}

/// What to make.
#[derive(Args, Debug)]
pub(crate) struct CreateArguments {
    /// The image's file, which must not exist
    pub(crate) image: PathBuf,
    /// Bytes on the disk, with K, M or G
    #[arg(long, value_name = "SIZE")]
    pub(crate) size: Size,
    /// How it is laid out
    #[arg(long, value_enum, default_value = "vhd")]
    pub(crate) format: ImageChoice,
}

/// Layout of a new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageChoice {
    /// A VHD that grows when it is written
    Vhd,
    /// A VHD of its full size
    VhdFixed,
    /// The disk's bytes alone, in a file with holes
    Raw,
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

/// Hypercalls that a guest uses only where it is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recommend {
    /// Have other processors forget translations of addresses
    TlbFlush,
    /// Interrupt other processors
    ClusterIpi,
}

impl Recommend {
    /// What CPUID says of them.
    pub(crate) fn recommendations(calls: &[Self]) -> Recommendations {
        calls
            .iter()
            .map(|call| match call {
                Self::TlbFlush => Recommendations::REMOTE_FLUSH,
                Self::ClusterIpi => Recommendations::CLUSTER_IPI,
            })
            .map(|call| call | Recommendations::EX_PROCESSOR_MASKS)
            .collect()
    }
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
    /// A disk image: PATH[,ro][,ide][,scratch][,dvd][,format=raw|vhd][,sector=512|4096][,on-full=error|pause]
    /// [,controller=N][,lun=N]; may be repeated
    ///
    /// `ro` only reads the image, `scratch` lets the guest write to a private copy that is thrown away,
    /// `ide` offers it as an accelerated IDE disk instead of a LUN of the SCSI controller.
    #[arg(long = "disk", value_name = "PATH[,OPTION...]")]
    pub(crate) disks: Vec<DiskArgument>,
    /// Threads that execute the commands of all disks; 0 has each channel execute its own, one after the other, which is
    /// quicker for images in the page cache
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256))]
    pub(crate) io_threads: u16,
    /// Virtual processors
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// Processors of this machine that the virtual ones stay on, in turn; only on KVM
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    pub(crate) pin: Vec<usize>,
    /// Hypercalls that the guest is recommended to make where it would interrupt its other processors; only on KVM
    #[arg(long, value_name = "CALLS,...", value_enum, value_delimiter = ',')]
    pub(crate) recommend: Vec<Recommend>,
    /// Guest memory, with K, M or G
    #[arg(long = "mem", value_name = "SIZE", default_value = "128M")]
    pub(crate) memory: Size,
    /// Where the guest runs
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) backend: BackendChoice,
    /// Words for the guest's command line
    #[arg(long, alias = "cmdline", value_name = "TEXT", default_value = "")]
    pub(crate) append: String,
    /// The generation of Windows Server whose versions the host offers: 2008, 2008R2, 2012, … 2025
    #[arg(long, value_name = "YEAR", default_value = "2025")]
    pub(crate) host_version: HostVersion,
    /// The machine's name, under which `host-sim ctl` finds it; without it there is no control socket
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A network adapter: tap:NAME, passt[:SOCKET], user, switch:PATH or none, with [,mac=ADDRESS][,vlan=N]
    /// [,queues=N][,spoofing]; may be repeated
    #[arg(long = "nic", value_name = "NETWORK[,OPTION...]")]
    pub(crate) nics: Vec<NicArgument>,
    /// SCSI controllers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub(crate) controllers: u8,
    /// Offer a screen with so many MiB of video memory
    #[arg(
        long,
        value_name = "MIB",
        num_args = 0..=1,
        default_missing_value = "8",
        requires = "kernel",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub(crate) screen: Option<u16>,
    /// Serve the screen to VNC clients: a loopback address with its port, or a Unix socket's path
    #[arg(long, value_name = "ADDRESS", requires = "screen")]
    pub(crate) vnc: Option<ListenAddress>,
    /// Highest VMBus version that the host accepts, such as 5.3; by default the host version's
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
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
