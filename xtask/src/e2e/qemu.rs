//! QEMU, whose software processor has the virtualisation that the machine's own lacks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use linux_guest_tests::plan::Program;

use super::kernels::Store;
use super::snapshot;
use crate::run::{self, Error, check, say};
use crate::toolchain::download::Sum;

pub(super) const PROGRAM: &str = "qemu-system-x86_64";
pub(super) const PACKAGE: &str = "qemu-system-x86";

/// A processor with AMD's virtualisation. What is taken away is broken in QEMU 7.2, when nested.
const PROCESSOR: &str = "EPYC,+svm,+npt,-cx16,-xsave,-avx,-avx2,-fma,-f16c,-xsaveopt,-xgetbv1";

/// The outer kernel's command line: quiet, and without probing for what an emulator does not have.
const KERNEL_WORDS: &str = "console=ttyS0 panic=-1 quiet mitigations=off nokaslr no_timer_check \
    tsc=reliable edd=off 8250.nr_uarts=1 rcupdate.rcu_expedited=1 audit=0";

/// Memory of the outer machine, which also holds disk images. What is not used takes no room.
const MEBIBYTES: u32 = 3072;

/// A QEMU that can be started.
pub(crate) struct Qemu {
    /// The dynamic loader of its own libraries, and the folder as if it were installed there; `None` if it is
    /// installed.
    unpacked: Option<PathBuf>,
}

/// The files of the outer machine.
pub(crate) struct OuterFiles<'a> {
    /// Its kernel.
    pub(crate) kernel: &'a Path,
    /// Its initial file system.
    pub(crate) initramfs: &'a Path,
    /// A disk that it reads.
    pub(crate) payload: &'a Path,
    /// A disk that it writes.
    pub(crate) logs: &'a Path,
}

impl Qemu {
    /// Finds QEMU, or installs it where that needs no asking, or unpacks it into the cache.
    ///
    /// # Errors
    /// None of these ways worked.
    pub(crate) fn get(store: &mut Store) -> Result<Self, Error> {
        let installed = || run::works(PROGRAM, &["--version"]);
        if installed() || (install() && installed()) {
            return Ok(Self { unpacked: None });
        }
        say("unpacking QEMU from Debian's archive");
        let folder = store.programs("qemu", &[PACKAGE])?;
        let qemu = Self {
            unpacked: Some(folder),
        };
        let output = qemu.command().arg("--version").output()?;
        if output.status.success() {
            Ok(qemu)
        } else {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(Error::new(format!(
                "the unpacked QEMU does not run: {}",
                text.trim()
            )))
        }
    }

    fn command(&self) -> Command {
        let Some(folder) = &self.unpacked else {
            return Command::new(PROGRAM);
        };
        let words = unpacked_words(folder, &format!("usr/bin/{PROGRAM}"));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            // Parts of it, the emulator of processors among them, are loaded at run time.
            .env(
                "QEMU_MODULE_DIR",
                folder.join("usr/lib/x86_64-linux-gnu/qemu"),
            );
        for firmware in ["qemu", "seabios"] {
            command
                .arg("-L")
                .arg(folder.join("usr/share").join(firmware));
        }
        command
    }

    /// How it is started, for others to do so.
    pub(crate) fn program(&self) -> Program {
        let command = self.command();
        let text = |word: &OsStr| word.to_string_lossy().into_owned();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let environment = command
            .get_envs()
            .filter_map(|(name, value)| Some((text(name), text(value?))));
        Program {
            words: words.map(text).collect(),
            environment: environment.collect(),
        }
    }

    /// The bytes that tell this build of QEMU from others.
    ///
    /// # Errors
    /// The program cannot be read.
    pub(crate) fn identity(&self) -> Result<Vec<u8>, Error> {
        let installed = || {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let mut places = std::env::split_paths(&path).map(|folder| folder.join(PROGRAM));
            places.find(|place| place.is_file())
        };
        let unpacked = self
            .unpacked
            .as_ref()
            .map(|folder| folder.join("usr/bin").join(PROGRAM));
        let program = unpacked.or_else(installed);
        let program = program.ok_or_else(|| Error::new("QEMU is gone"))?;
        Ok(Sum::of(&program)?.hex().into_bytes())
    }

    /// The command that starts the outer machine, its serial line on the standard streams.
    pub(crate) fn outer(&self, files: &OuterFiles<'_>) -> Command {
        let mut command = self.command();
        command.args(["-accel", "tcg,thread=multi", "-cpu", PROCESSOR]);
        // Guests have two at most, on two of these: QEMU's first processor cannot run guests reliably.
        command.args(["-smp", "3", "-m", &MEBIBYTES.to_string()]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        command.args(["-no-reboot", "-serial", "stdio"]);
        command.arg("-kernel").arg(files.kernel);
        command.arg("-initrd").arg(files.initramfs);
        command.args(["-append", KERNEL_WORDS]);
        for (id, file, options) in [
            ("payload", files.payload, ",readonly=on"),
            ("logs", files.logs, ""),
        ] {
            let before = format!("if=none,id={id},format=raw,file=");
            command
                .arg("-drive")
                .arg(snapshot::option(&before, file, options));
            command.args(["-device", &format!("virtio-blk-pci,drive={id}")]);
        }
        command
    }
}

/// How a program of unpacked packages is started.
pub(super) fn unpacked_words(folder: &Path, binary: &str) -> [String; 4] {
    let at = |path: &str| folder.join(path).display().to_string();
    let libraries = ["lib", "usr/lib"].map(|parent| at(&format!("{parent}/x86_64-linux-gnu")));
    [
        // The loader that belongs to the libraries: the machine's own C library may be another.
        at("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
        "--library-path".to_owned(),
        libraries.join(":"),
        at(binary),
    ]
}

/// Installs the package, where we may and can. Whether that worked shows afterwards.
fn install() -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == 0
    });
    if !is_root || !run::works("apt-get", &["--version"]) {
        return false;
    }
    say("installing QEMU with apt-get");
    let install = || {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
            .arg(PACKAGE)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Standard output belongs to the results.
            .stdout(std::io::stderr());
        check(&mut command)
    };
    // Without an up-to-date list of packages, the first try may ask for files that are gone.
    let update = || {
        let mut command = Command::new("apt-get");
        check(
            command
                .args(["update", "--quiet=2"])
                .stdout(std::io::stderr()),
        )
    };
    install()
        .or_else(|_| update().and_then(|()| install()))
        .is_ok()
}
