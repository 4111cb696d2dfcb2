//! Verbs of disks, network adapters, screen and input.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::vsp::mouse::Button;

/// Disks of the SCSI controllers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DiskRequest {
    /// The disks and their numbers
    List {},
    /// Plug a disk in
    Add {
        /// Its controller
        #[arg(long, default_value_t = 0)]
        #[serde(default)]
        controller: u8,
        /// Its number
        #[arg(long)]
        lun: u8,
        /// The image, as for `host-sim run --disk`
        disk: String,
    },
    /// Pull a disk out
    Remove {
        /// Its controller
        #[arg(long, default_value_t = 0)]
        #[serde(default)]
        controller: u8,
        /// Its number
        #[arg(long)]
        lun: u8,
    },
    /// Make a disk fail
    Fault(FaultRequest),
}

/// A disk that fails from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FaultRequest {
    /// Its controller
    #[arg(long, default_value_t = 0)]
    #[serde(default)]
    pub controller: u8,
    /// Its number
    #[arg(long)]
    pub lun: u8,
    /// First sector that cannot be read; without it, all faults are taken back
    #[arg(long)]
    pub sector: Option<u64>,
    /// Sectors that cannot be read
    #[arg(long, default_value_t = 1)]
    #[serde(default = "one")]
    pub count: u64,
}

const fn one() -> u64 {
    1
}

/// DVD drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DvdRequest {
    /// Put a medium in
    Insert {
        /// The drive's controller
        #[arg(long, default_value_t = 0)]
        #[serde(default)]
        controller: u8,
        /// The drive's number
        #[arg(long)]
        lun: u8,
        /// The image
        image: PathBuf,
    },
    /// Take the medium out
    Eject {
        /// The drive's controller
        #[arg(long, default_value_t = 0)]
        #[serde(default)]
        controller: u8,
        /// The drive's number
        #[arg(long)]
        lun: u8,
        /// Even if the guest has locked the drive
        #[arg(long)]
        #[serde(default)]
        force: bool,
    },
}

/// Whether a cable is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// It is
    Up,
    /// It is not
    Down,
}

/// Network adapters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "operation", rename_all = "kebab-case", deny_unknown_fields)]
pub enum NicRequest {
    /// The adapters and their numbers
    List {},
    /// Plug an adapter in
    Add {
        /// What it is connected to, as for `host-sim run --nic`
        nic: String,
    },
    /// Pull an adapter out
    Remove {
        /// Its number
        index: u8,
    },
    /// Plug the cable in or out
    Link {
        /// The adapter's number
        index: u8,
        /// Whether there is a link
        #[arg(value_enum)]
        state: LinkState,
    },
}

/// Keys to press.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeysRequest {
    /// Text to type, on a US keyboard
    #[arg(long, default_value = "")]
    pub text: String,
    /// Keys by name, pressed and released one after the other; those joined by `+` are held together
    pub keys: Vec<String>,
}

/// A pointer's state; what is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct MouseRequest {
    /// Place from the left edge (0) to the right one (32767)
    #[arg(long)]
    pub x: Option<u16>,
    /// Place from the upper edge (0) to the lower one (32767)
    #[arg(long)]
    pub y: Option<u16>,
    /// Buttons that are down from now on: left, right, middle, fourth, fifth; none without a value
    #[arg(long, value_delimiter = ',', num_args = 0..=1)]
    pub buttons: Option<Vec<Button>>,
    /// Notches to turn the wheel, away from the user if positive
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    pub wheel: i8,
}
