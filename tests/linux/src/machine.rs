//! A machine that `host-sim` gives to a guest, described.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::plan::Kernel;

/// Words that each guest's kernel gets: its console, a reset instead of a halt after a panic, and no waiting for
/// entropy or defences that nobody attacks.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 mitigations=off random.trust_cpu=on";

/// A machine: processors, memory and what hangs on it.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name, for the files of its logs; machines of one job differ in it.
    pub name: String,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub mebibytes: u32,
    /// Whether a reset boots the kernel again. Otherwise it ends the run.
    pub reboots: bool,
    /// Whether it is a PC without Hyper-V. It takes no orders then.
    pub is_plain: bool,
    disks: Vec<OsString>,
    words: Vec<String>,
    arguments: Vec<OsString>,
}

/// The files and sockets of a machine that runs.
#[derive(Clone, Debug)]
pub struct Files {
    /// What the kernel prints on its console (COM1).
    pub console: PathBuf,
    /// The shell's socket (COM2).
    pub shell: PathBuf,
    /// The socket on which `host-sim` takes orders.
    pub control: PathBuf,
    /// What `host-sim` prints.
    pub host: PathBuf,
}

impl Files {
    /// The places of a machine's files in a job's folder; sockets go to the scratch folder.
    #[must_use]
    pub fn of(name: &str, logs: &Path, scratch: &Path) -> Self {
        Self {
            console: logs.join(format!("{name}.console")),
            shell: scratch.join(format!("{name}.shell")),
            control: scratch.join(format!("{name}.control")),
            host: logs.join(format!("{name}.host")),
        }
    }
}

impl Machine {
    /// A machine with so many processors, 512 MiB and no disks.
    #[must_use]
    pub fn new(cpus: u32) -> Self {
        Self {
            name: "guest".to_owned(),
            cpus,
            mebibytes: 512,
            reboots: false,
            is_plain: false,
            disks: Vec::new(),
            words: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// Adds a disk, after those that are there. `options` are those of `host-sim run --disk`, such as `ro` or
    /// `sector=4096`.
    #[must_use]
    pub fn disk(mut self, image: &Path, options: &[&str]) -> Self {
        let mut argument = image.as_os_str().to_owned();
        for option in options {
            argument.push(",");
            argument.push(option);
        }
        self.disks.push(argument);
        self
    }

    /// Adds a word to the kernel's command line. `MODULE.PARAMETER=VALUE` also reaches modules.
    #[must_use]
    pub fn word(mut self, word: &str) -> Self {
        self.words.push(word.to_owned());
        self
    }

    /// Adds arguments of `host-sim run`.
    #[must_use]
    pub fn arguments<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The arguments that make `host-sim` run this machine.
    #[must_use]
    pub fn command_line(&self, kernel: &Kernel, files: &Files) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["run".into()];
        let mut option = |name: &str, value: OsString| {
            arguments.push(name.into());
            arguments.push(value);
        };
        let mut words = vec![COMMAND_LINE];
        words.extend(self.words.iter().map(String::as_str));
        option("--kernel", kernel.image.clone().into());
        option("--initrd", kernel.initramfs.clone().into());
        option("--append", words.join(" ").into());
        option("--backend", "kvm".into());
        option("--cpus", self.cpus.to_string().into());
        option("--mem", format!("{}M", self.mebibytes).into());
        option("--serial1", prefixed("file:", &files.console));
        option("--serial2", prefixed("unix:", &files.shell));
        if self.is_plain {
            option("--hyperv", "off".into());
        } else {
            option("--name", files.control.clone().into());
        }
        for disk in &self.disks {
            option("--disk", disk.clone());
        }
        if !self.reboots {
            arguments.push("--no-reboot".into());
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }
}

fn prefixed(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_becomes_arguments() {
        let kernel = Kernel {
            name: "6.1".to_owned(),
            release: "6.1.0".to_owned(),
            image: "/k".into(),
            initramfs: "/i".into(),
        };
        let files = Files::of("guest", Path::new("/l"), Path::new("/s"));
        let line = Machine::new(2)
            .disk(Path::new("/d"), &["ro", "sector=4096"])
            .word("a.b=1")
            .arguments(["--x", "y"])
            .command_line(&kernel, &files);
        let line: Vec<_> = line.iter().map(|word| word.to_str().unwrap()).collect();
        let has = |pair: [&str; 2]| line.windows(2).any(|window| window == pair);
        assert_eq!(line[0], "run");
        assert!(has(["--disk", "/d,ro,sector=4096"]));
        assert!(has(["--cpus", "2"]));
        assert!(has(["--serial1", "file:/l/guest.console"]));
        assert!(has(["--serial2", "unix:/s/guest.shell"]));
        assert!(has(["--name", "/s/guest.control"]));
        assert!(has(["--x", "y"]));
        let append = line.iter().position(|word| *word == "--append").unwrap();
        assert!(line[append + 1].ends_with(" a.b=1"));
    }
}
