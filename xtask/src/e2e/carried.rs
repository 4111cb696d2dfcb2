//! Programs that scenarios use besides ours: this machine's, or carried into the outer machine.

use std::path::{Path, PathBuf};

use linux_guest_tests::plan::Program;

use super::cpio::Tree;
use super::images;
use super::kernels::Store;
use super::qemu::{self, Qemu};
use crate::run::Error;

/// Firmware of the machines that are measured, and what loads a kernel in them.
const FIRMWARE: [&str; 6] = [
    "bios-256k.bin",
    "bios-microvm.bin",
    "kvmvapic.bin",
    "linuxboot.bin",
    "linuxboot_dma.bin",
    "pvh.bin",
];

/// The user-mode network that is a process of its own: package and program.
const PASST: &str = "passt";
const PASST_BINARY: &str = "usr/bin/passt";

/// A program, and how it is started.
pub(crate) struct Carried {
    pub(crate) program: Program,
    /// What has to be in the payload: nothing if it is used where it is.
    pub(crate) tree: Tree,
}

impl Carried {
    /// This machine's QEMU, or the unpacked one.
    ///
    /// # Errors
    /// As for [`Qemu::get`].
    pub(crate) fn qemu_here(store: &mut Store) -> Result<Self, Error> {
        Ok(Self {
            program: Qemu::get(store)?.program(),
            tree: Tree::default(),
        })
    }

    /// A QEMU from Debian's archive with its loader, libraries and firmware, for a machine that has none of these.
    /// `payload` is where that machine will have the payload.
    ///
    /// # Errors
    /// The archive cannot be reached, or a part of it is missing.
    pub(crate) fn qemu_packed(store: &mut Store, payload: &Path) -> Result<Self, Error> {
        let unpacked = store.programs("qemu", &[qemu::PACKAGE])?;
        let binary = format!("usr/bin/{}", qemu::PROGRAM);
        let mut carried = Self::packed(&unpacked, "qemu", &binary, payload, |tree| {
            for name in FIRMWARE {
                let contents = std::fs::read(firmware(&unpacked, name)?)?;
                tree.file(&format!("firmware/{name}"), contents);
            }
            Ok(())
        })?;
        let firmware = payload.join("qemu/firmware").display().to_string();
        carried.program.words.extend(["-L".to_owned(), firmware]);
        Ok(carried)
    }

    /// Debian's passt, where it was unpacked.
    ///
    /// # Errors
    /// The archive cannot be reached.
    pub(crate) fn passt_here(store: &mut Store) -> Result<Self, Error> {
        let unpacked = store.programs(PASST, &[PASST])?;
        Ok(Self {
            program: Program {
                words: qemu::unpacked_words(&unpacked, PASST_BINARY).into(),
                environment: Vec::new(),
            },
            tree: Tree::default(),
        })
    }

    /// The same for a machine that has no libraries.
    ///
    /// # Errors
    /// The archive cannot be reached, or a part of the program is missing.
    pub(crate) fn passt_packed(store: &mut Store, payload: &Path) -> Result<Self, Error> {
        let unpacked = store.programs(PASST, &[PASST])?;
        Self::packed(&unpacked, PASST, PASST_BINARY, payload, |_| Ok(()))
    }

    /// A program with its loader and libraries, in a folder of the payload.
    fn packed(
        unpacked: &Path,
        folder: &str,
        binary: &str,
        payload: &Path,
        more: impl FnOnce(&mut Tree) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut tree = Tree::default();
        images::add_program(&mut tree, unpacked, binary)?;
        more(&mut tree)?;
        let at = |path: &str| payload.join(folder).join(path).display().to_string();
        let libraries = ["lib", "usr/lib"].map(|parent| at(&format!("{parent}/x86_64-linux-gnu")));
        let words = vec![
            at("lib64/ld-linux-x86-64.so.2"),
            "--library-path".to_owned(),
            libraries.join(":"),
            at(binary),
        ];
        Ok(Self {
            program: Program {
                words,
                environment: Vec::new(),
            },
            tree: tree.below(folder),
        })
    }
}

fn firmware(unpacked: &Path, name: &str) -> Result<PathBuf, Error> {
    let mut places = ["qemu", "seabios"]
        .iter()
        .map(|folder| images::inside(unpacked, &format!("usr/share/{folder}/{name}")));
    places
        .find_map(Result::ok)
        .ok_or_else(|| Error::new(format!("the packages have no firmware {name}")))
}
