//! Files from the network, by whichever program the machine has, and their sums.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::run::{Error, works};

/// Programs that can download, and how they are asked to.
const PROGRAMS: [(&str, &[&str], &str); 2] = [
    (
        "curl",
        &[
            "--fail",
            "--silent",
            "--show-error",
            "--location",
            "--retry",
            "2",
            "--connect-timeout",
            "20",
        ],
        "--output",
    ),
    (
        "wget",
        &["--quiet", "--tries=3", "--timeout=20"],
        "--output-document",
    ),
];

/// Part of apt, present wherever apt is.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// Downloads a file.
pub(super) fn fetch(address: &str, to: &Path) -> Result<(), Error> {
    let mut command = downloader(address, to)
        .ok_or_else(|| Error::new("neither curl nor wget nor apt is here to download with"))?;
    let output = command.output()?;
    if output.status.success() && to.is_file() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!(
        "cannot download {address}: {}",
        text.trim()
    )))
}

fn downloader(address: &str, to: &Path) -> Option<Command> {
    for (program, arguments, output) in PROGRAMS {
        if works(program, &["--version"]) {
            let mut command = Command::new(program);
            command.args(arguments).arg(output).arg(to).arg(address);
            return Some(command);
        }
    }
    Path::new(APT_HELPER).is_file().then(|| {
        let mut command = Command::new(APT_HELPER);
        command.arg("download-file").arg(address).arg(to);
        command
    })
}

/// A SHA-256 sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum([u8; 32]);

impl Sum {
    /// Reads 64 hexadecimal digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut sum = [0; 32];
        for (index, byte) in sum.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(sum))
    }

    /// The sum as 64 hexadecimal digits.
    pub(crate) fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The sum of a file's bytes.
    pub(crate) fn of(file: &Path) -> Result<Self, Error> {
        let mut file = std::fs::File::open(file)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Self(hash.finalize().into())),
                length => hash.update(&buffer[..length]),
            }
        }
    }

    /// Fails unless the file has this sum.
    pub(crate) fn check(self, file: &Path) -> Result<(), Error> {
        if Self::of(file)? == self {
            Ok(())
        } else {
            Err(Error::new(format!(
                "{} was damaged or changed on its way: its SHA-256 is wrong",
                file.display()
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_and_checked() {
        let empty =
            Sum::parse("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").unwrap();
        empty.check(Path::new("/dev/null")).unwrap();
        let other = Sum([7; 32]);
        assert!(other.check(Path::new("/dev/null")).is_err());
        assert_eq!(Sum::parse("e3b0"), None);
        assert_eq!(Sum::parse(&"xy".repeat(32)), None);
        assert_eq!(Sum::parse(&"é".repeat(32)), None);
    }
}
