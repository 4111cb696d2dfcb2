//! Verbs of the integration services.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::ic::kvp::Pool;

/// What the guest is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownAction {
    /// Power off
    #[default]
    PowerOff,
    /// Start anew
    Restart,
    /// Hibernate
    Hibernate,
}

/// An order to shut down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ShutdownRequest {
    /// What the guest is to do
    #[arg(long, value_enum, default_value = "power-off")]
    pub action: ShutdownAction,
    /// Don't wait for applications
    #[arg(long)]
    pub force: bool,
    /// Seconds that the guest is told it has; 0 says nothing
    #[arg(long, default_value_t = 0)]
    pub timeout: u32,
    /// Text that the guest may show
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Answer when the guest has accepted or refused the order, or after so many seconds; else at once
    #[arg(long)]
    pub wait: Option<u32>,
}

/// Keys and values, and addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(
    tag = "operation",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum KvpRequest {
    /// The value of a key
    Get {
        /// Where the key lives: external, guest, auto or auto-external
        #[arg(long)]
        pool: Pool,
        /// Its name
        #[arg(long)]
        key: String,
    },
    /// Set a key
    Set {
        /// Where the key lives: external, guest, auto or auto-external
        #[arg(long)]
        pool: Pool,
        /// Its name
        #[arg(long)]
        key: String,
        /// The text that it gets
        #[arg(long)]
        value: String,
    },
    /// Take a key away
    Delete {
        /// Where the key lives: external, guest, auto or auto-external
        #[arg(long)]
        pool: Pool,
        /// Its name
        #[arg(long)]
        key: String,
    },
    /// All keys of a pool with their values
    List {
        /// The pool
        #[arg(long)]
        pool: Pool,
    },
    /// The addresses of a network adapter
    Ip {
        /// Its number
        #[arg(long)]
        nic: u8,
    },
    /// Give a network adapter addresses
    SetIp {
        /// Its number
        #[arg(long)]
        nic: u8,
        /// Have the guest ask for its address
        #[arg(long)]
        #[serde(default)]
        dhcp: bool,
        /// An address; may be repeated
        #[arg(long)]
        #[serde(default)]
        address: Vec<IpAddr>,
        /// The netmask (or, for IPv6, the prefix's length) of each address, in their order
        #[arg(long)]
        #[serde(default)]
        netmask: Vec<String>,
        /// A gateway; may be repeated
        #[arg(long)]
        #[serde(default)]
        gateway: Vec<IpAddr>,
        /// A name server; may be repeated
        #[arg(long)]
        #[serde(default)]
        dns: Vec<IpAddr>,
    },
}

/// Backups with frozen file systems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(
    tag = "operation",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields
)]
pub enum VssRequest {
    /// Freeze, copy the disk's state of that moment, thaw; the copy is written out while the guest goes on
    Backup {
        /// The SCSI disk
        #[arg(long)]
        lun: u8,
        /// Where the copy goes, as a raw image
        #[arg(long)]
        to: PathBuf,
        /// Seconds that the guest has to freeze its file systems, 1 to 900; else 60
        #[arg(long)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        freeze_timeout: Option<u16>,
    },
    /// Ask whether the guest can be backed up while it runs
    Check {},
}

/// A file for the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CopyFileRequest {
    /// The file on the host
    pub source: PathBuf,
    /// Where it goes in the guest, an absolute path
    pub target: String,
    /// Replace a file that is there
    #[arg(long)]
    #[serde(default)]
    pub overwrite: bool,
    /// Make folders that are missing
    #[arg(long)]
    #[serde(default)]
    pub create_path: bool,
}

/// A time for the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct TimeSyncRequest {
    /// Seconds that the time sent is ahead of the host's clock, to test guests
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    pub offset: i64,
}
