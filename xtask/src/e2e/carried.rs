//! A QEMU to be measured beside `host-sim`: this machine's, or one that is carried into the outer machine.

use std::path::{Path, PathBuf};

use linux_guest_tests::plan::Program;

use super::cpio::Tree;
use super::images;
use super::kernels::Store;
use super::qemu::{PACKAGE, PROGRAM, Qemu};
use crate::run::Error;

/// Where it is in the payload.
const FOLDER: &str = "qemu";

/// Firmware of the machines that are measured, and what loads a kernel in them.
const FIRMWARE: [&str; 6] = [
    "bios-256k.bin",
    "bios-microvm.bin",
    "kvmvapic.bin",
    "linuxboot.bin",
    "linuxboot_dma.bin",
    "pvh.bin",
];

/// A QEMU, and how it is started.
pub(crate) struct Carried {
    pub(crate) program: Program,
    /// What has to be in the payload: nothing if it is used where it is.
    pub(crate) tree: Tree,
}

impl Carried {
    /// This machine's, or the unpacked one.
    ///
    /// # Errors
    /// As for [`Qemu::get`].
    pub(crate) fn here(store: &mut Store) -> Result<Self, Error> {
        Ok(Self {
            program: Qemu::get(store)?.program(),
            tree: Tree::default(),
        })
    }

    /// One from Debian's archive with its loader, libraries and firmware, for a machine that has none of these.
    /// `payload` is where that machine will have the payload.
    ///
    /// # Errors
    /// The archive cannot be reached, or a part of it is missing.
    pub(crate) fn packed(store: &mut Store, payload: &Path) -> Result<Self, Error> {
        let unpacked = store.programs("qemu", &[PACKAGE])?;
        let mut tree = Tree::default();
        let binary = format!("usr/bin/{PROGRAM}");
        images::add_program(&mut tree, &unpacked, &binary)?;
        for name in FIRMWARE {
            let contents = std::fs::read(firmware(&unpacked, name)?)?;
            tree.file(&format!("firmware/{name}"), contents);
        }
        let at = |path: &str| payload.join(FOLDER).join(path).display().to_string();
        let libraries = ["lib", "usr/lib"].map(|parent| at(&format!("{parent}/x86_64-linux-gnu")));
        let words = vec![
            at("lib64/ld-linux-x86-64.so.2"),
            "--library-path".to_owned(),
            libraries.join(":"),
            at(&binary),
            "-L".to_owned(),
            at("firmware"),
        ];
        Ok(Self {
            program: Program {
                words,
                environment: Vec::new(),
            },
            tree: tree.below(FOLDER),
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
