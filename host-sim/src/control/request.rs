//! The verbs: as JSON, and as a command line.

mod device;
mod service;

use clap::Subcommand;
use serde::{Deserialize, Serialize};

pub use device::{
    DiskRequest, DvdRequest, FaultRequest, KeysRequest, LinkState, MouseRequest, NicRequest,
};
pub use service::{
    CopyFileRequest, KvpRequest, ShutdownAction, ShutdownRequest, TimeSyncRequest, VssRequest,
};

/// What an operator wants.
///
/// Verbs without parameters have braces: only then are parameters of theirs refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The machine in a few words: who the guest is, versions, devices, services
    Status {},
    /// Whether the guest answers its heartbeat
    Heartbeat {},
    /// Order the guest to power off, restart or hibernate
    Shutdown(ShutdownRequest),
    /// Exchange keys and values, and the addresses of the guest's network adapters
    #[command(subcommand)]
    Kvp(KvpRequest),
    /// Back up a disk while the guest's file systems are frozen
    #[command(subcommand)]
    Vss(VssRequest),
    /// Copy a file into the guest
    CopyFile(CopyFileRequest),
    /// Set the guest's clock
    TimeSync(TimeSyncRequest),
    /// Plug disks in, pull them out, make them fail
    #[command(subcommand)]
    Disk(DiskRequest),
    /// Change the medium of a DVD drive
    #[command(subcommand)]
    Dvd(DvdRequest),
    /// Plug network adapters in, pull them out, or their cables
    #[command(subcommand)]
    Nic(NicRequest),
    /// Write what the screen shows to a PNG file
    Screenshot {
        /// The file, made or overwritten by the host's process
        path: std::path::PathBuf,
    },
    /// Press keys, or type a text
    Keys(KeysRequest),
    /// Move the pointer, press buttons, turn the wheel
    Mouse(MouseRequest),
    /// Every counter and state that there is
    Inspect {},
    /// Press the power button: the guest decides what that means
    PowerButton {},
    /// Reset the machine: the guest's memory is lost, nothing is flushed by the guest
    Reset {},
    /// Stop the machine by force and end the host's process
    Quit {},
}

impl Request {
    /// Whether the host may have to wait before it can answer: for the guest, or for a disk's bytes.
    pub(super) fn may_wait(&self) -> bool {
        !matches!(
            self,
            Self::Status {}
                | Self::Heartbeat {}
                | Self::Inspect {}
                | Self::PowerButton {}
                | Self::Reset {}
                | Self::Quit {}
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Parser, error::ErrorKind};

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        request: Request,
    }

    fn line(text: &str) -> Result<Request, ErrorKind> {
        let words = std::iter::once("ctl").chain(text.split(' '));
        Line::try_parse_from(words)
            .map(|line| line.request)
            .map_err(|error| error.kind())
    }

    /// Each verb as a command line, and as the JSON that it stands for.
    const EXAMPLES: &[(&str, &str)] = &[
        ("status", r#"{"verb":"status"}"#),
        ("heartbeat", r#"{"verb":"heartbeat"}"#),
        ("shutdown", r#"{"verb":"shutdown"}"#),
        (
            "shutdown --action restart --force --wait 30 --timeout 5 --reason now",
            r#"{"verb":"shutdown","action":"restart","force":true,"wait":30,"timeout":5,"reason":"now"}"#,
        ),
        (
            "kvp get --pool guest --key name",
            r#"{"verb":"kvp","operation":"get","pool":"guest","key":"name"}"#,
        ),
        (
            "kvp set --pool external --key a --value b",
            r#"{"verb":"kvp","operation":"set","pool":"external","key":"a","value":"b"}"#,
        ),
        (
            "kvp delete --pool external --key a",
            r#"{"verb":"kvp","operation":"delete","pool":"external","key":"a"}"#,
        ),
        (
            "kvp list --pool auto",
            r#"{"verb":"kvp","operation":"list","pool":"auto"}"#,
        ),
        (
            "kvp ip --nic 2",
            r#"{"verb":"kvp","operation":"ip","nic":2}"#,
        ),
        (
            "kvp set-ip --nic 0 --address 10.0.0.2 --netmask 255.255.255.0 --gateway 10.0.0.1 --dns 10.0.0.3",
            r#"{"verb":"kvp","operation":"set-ip","nic":0,"dhcp":false,"address":["10.0.0.2"],"netmask":["255.255.255.0"],"gateway":["10.0.0.1"],"dns":["10.0.0.3"]}"#,
        ),
        (
            "vss backup --lun 1 --to copy.img",
            r#"{"verb":"vss","operation":"backup","lun":1,"to":"copy.img"}"#,
        ),
        (
            "vss backup --lun 1 --to copy.img --freeze-timeout 5",
            r#"{"verb":"vss","operation":"backup","lun":1,"to":"copy.img","freeze-timeout":5}"#,
        ),
        (
            "copy-file --overwrite --create-path local /remote/path",
            r#"{"verb":"copy-file","source":"local","target":"/remote/path","overwrite":true,"create-path":true}"#,
        ),
        ("time-sync", r#"{"verb":"time-sync"}"#),
        (
            "disk add --lun 3 a.vhd,ro",
            r#"{"verb":"disk","operation":"add","lun":3,"disk":"a.vhd,ro"}"#,
        ),
        (
            "disk remove --lun 3",
            r#"{"verb":"disk","operation":"remove","lun":3}"#,
        ),
        ("disk list", r#"{"verb":"disk","operation":"list"}"#),
        (
            "nic add user,mac=00:15:5d:00:00:07",
            r#"{"verb":"nic","operation":"add","nic":"user,mac=00:15:5d:00:00:07"}"#,
        ),
        (
            "nic remove 1",
            r#"{"verb":"nic","operation":"remove","index":1}"#,
        ),
        (
            "nic link 1 down",
            r#"{"verb":"nic","operation":"link","index":1,"state":"down"}"#,
        ),
        ("nic list", r#"{"verb":"nic","operation":"list"}"#),
        (
            "screenshot s.png",
            r#"{"verb":"screenshot","path":"s.png"}"#,
        ),
        ("keys --text hello", r#"{"verb":"keys","text":"hello"}"#),
        (
            "keys ctrl+alt+delete a",
            r#"{"verb":"keys","keys":["ctrl+alt+delete","a"]}"#,
        ),
        (
            "mouse --x 100 --y 32767 --buttons left,right --wheel=-1",
            r#"{"verb":"mouse","x":100,"y":32767,"buttons":["left","right"],"wheel":-1}"#,
        ),
        (
            "mouse --buttons",
            r#"{"verb":"mouse","buttons":[],"wheel":0}"#,
        ),
        ("inspect", r#"{"verb":"inspect"}"#),
        ("power-button", r#"{"verb":"power-button"}"#),
        ("reset", r#"{"verb":"reset"}"#),
        ("quit", r#"{"verb":"quit"}"#),
    ];

    #[test]
    fn the_command_line_and_the_json_are_the_same_verbs() {
        for (text, json) in EXAMPLES {
            let from_line = line(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            let from_json: Request =
                serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
            assert_eq!(from_line, from_json, "{text}");
            let again: Request =
                serde_json::from_str(&serde_json::to_string(&from_line).unwrap()).unwrap();
            assert_eq!(again, from_line, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_verb_is_refused() {
        for json in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"verb":"dance"}"#,
            r#"{"verb":"shutdown","speed":9}"#,
            r#"{"verb":"quit","dry-run":true}"#,
            r#"{"verb":"reset","wait":30}"#,
            r#"{"verb":"vss","operation":"check","lun":3}"#,
            r#"{"verb":"disk","operation":"list","lun":3}"#,
            r#"{"verb":"nic","operation":"list","index":3}"#,
            r#"{"verb":"disk"}"#,
            r#"{"verb":"disk","operation":"add","lun":300,"disk":"a"}"#,
            r#"{"verb":"disk","operation":"add","lun":3}"#,
            r#"{"verb":"disk","operation":"add","lun":3,"disk":"a","speed":1}"#,
            r#"{"verb":"kvp","operation":"get","pool":"nowhere","key":"a"}"#,
            r#"{"verb":"nic","operation":"link","index":1,"state":"maybe"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(json).is_err(), "{json}");
        }
        for text in ["dance", "disk", "disk add", "nic link 1 maybe", "kvp get"] {
            assert!(line(text).is_err(), "{text}");
        }
    }
}
