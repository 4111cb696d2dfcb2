//! The programs that boot the kernel: `host-sim`, and QEMU with two of its machines.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::plan::{Kernel, Program};

/// Memory of the guest in MiB.
pub const MEBIBYTES: u32 = 512;

/// The kernel's command line, the same everywhere. Without its messages: the serial line would be what is measured.
const WORDS: &str = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on";

/// A program with the machine that it offers.
pub(super) struct Monitor {
    /// Its name in the results.
    pub(super) name: &'static str,
    kind: Kind,
}

enum Kind {
    HostSim(PathBuf),
    Qemu(Program, &'static str),
}

/// `host-sim`, and QEMU's usual machine and its smallest one, where there is QEMU.
pub(super) fn all(host_sim: &Path, qemu: Option<&Program>) -> Vec<Monitor> {
    let mut all = vec![Monitor {
        name: "host-sim",
        kind: Kind::HostSim(host_sim.to_path_buf()),
    }];
    let machines = [("qemu pc", "pc"), ("qemu microvm", "microvm")];
    if let Some(program) = qemu {
        all.extend(machines.map(|(name, machine)| Monitor {
            name,
            kind: Kind::Qemu(program.clone(), machine),
        }));
    }
    all
}

impl Monitor {
    /// Whether this is ours.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::HostSim(_))
    }

    /// The command that boots a kernel with one processor, its console on a file.
    pub(super) fn command(&self, kernel: &Kernel, console: &Path) -> Command {
        let memory = format!("{MEBIBYTES}M");
        let serial = {
            let mut text = OsString::from("file:");
            text.push(console);
            text
        };
        let mut command = match &self.kind {
            Kind::HostSim(program) => {
                let mut command = Command::new(program);
                command.args(["run", "--backend", "kvm", "--no-reboot"]);
                command.args(["--cpus", "1", "--mem", &memory]);
                command.arg("--serial1").arg(serial);
                command.arg("--kernel").arg(&kernel.image);
                command.arg("--initrd").arg(&kernel.initramfs);
                command.args(["--append", WORDS]);
                return command;
            }
            Kind::Qemu(program, machine) => {
                let mut command = program.command();
                command.args(["-machine", machine]);
                command
            }
        };
        command.args(["-accel", "kvm", "-cpu", "host", "-no-reboot"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-smp", "1", "-m", &memory]);
        command.arg("-serial").arg(serial);
        command.arg("-kernel").arg(&kernel.image);
        command.arg("-initrd").arg(&kernel.initramfs);
        command.args(["-append", WORDS]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn all_boot_the_same() {
        let kernel = Kernel {
            name: "6.1".to_owned(),
            release: "6.1.0".to_owned(),
            image: "/k".into(),
            initramfs: "/i".into(),
        };
        let qemu = Program {
            words: vec!["/loader".to_owned(), "/qemu".to_owned()],
            environment: Vec::new(),
        };
        assert_eq!(all(Path::new("/h"), None).len(), 1);
        let all = all(Path::new("/h"), Some(&qemu));
        assert_eq!(all.iter().filter(|monitor| monitor.is_ours()).count(), 1);
        for monitor in &all {
            let words = words(&monitor.command(&kernel, Path::new("/c")));
            let has = |word: &str| words.iter().any(|other| other == word);
            for word in ["/k", "/i", "file:/c", "512M", WORDS] {
                assert!(has(word), "{}: {word} in {words:?}", monitor.name);
            }
            assert_eq!(has("/h"), monitor.is_ours());
            assert_eq!(has("/qemu") && has("kvm"), !monitor.is_ours());
        }
    }
}
