//! Initial file systems: of guests, and of the machine in which guests run nested.

use std::path::{Path, PathBuf};

use super::cpio::Tree;
use super::elf;
use super::kernels::Kernel;
use super::modules::Modules;
use crate::run::Error;

/// Drivers without which no scenario makes sense.
const GUEST_DRIVERS: [&str; 8] = [
    "hv_vmbus",
    "hv_utils",
    "hv_balloon",
    "sd_mod",
    "hv_storvsc",
    "hv_netvsc",
    "hyperv-keyboard",
    "hid-hyperv",
];

/// Drivers and file systems that guests get where their kernel has them.
const GUEST_EXTRAS: [&str; 14] = [
    "sr_mod",
    "sg",
    "hid-generic",
    "evdev",
    "hyperv_drm",
    "hyperv_fb",
    "ext4",
    "isofs",
    "udf",
    "vfat",
    "nls_ascii",
    "8021q",
    "efi_pstore",
    "button",
];

/// Programs and settings that guests get from their user space, where it has them.
const GUEST_FILES: [&str; 4] = [
    "sbin/mke2fs",
    "sbin/e2fsck",
    "sbin/ethtool",
    "etc/mke2fs.conf",
];

/// Names under which a program does something else.
const GUEST_LINKS: [(&str, &str); 2] = [("sbin/mkfs.ext4", "mke2fs"), ("sbin/fsck.ext4", "e2fsck")];

/// The init whose first line is waited for.
const FIRST_LINE_INIT: &str = include_str!("first_line_init.sh");

/// What the outer machine loads at once, and what after its snapshot.
const OUTER_DRIVERS: [&str; 3] = ["kvm-amd", "tun", "virtio_pci"];
const OUTER_LATE_DRIVERS: [&str; 2] = ["virtio_blk", "dummy"];

/// The initial file system of a guest: drivers, busybox, tools and Hyper-V's daemons.
///
/// # Errors
/// Something that a guest must have is missing.
pub(crate) fn guest(kernel: &Kernel) -> Result<Vec<u8>, Error> {
    let mut tree = Tree::default();
    busybox(&mut tree, &kernel.user_space)?;
    tree.file("init", include_str!("guest_init.sh"));
    tree.file("sbin/poweroff", include_str!("guest_poweroff.sh"));
    tree.file("sbin/reboot", include_str!("guest_reboot.sh"));
    let modules = Modules::open(&kernel.modules)?;
    let mut names = GUEST_DRIVERS.to_vec();
    names.extend(GUEST_EXTRAS.iter().filter(|name| modules.has(name)));
    load(&mut tree, &modules, &names, "modules/order")?;
    for path in GUEST_FILES {
        add_program(&mut tree, &kernel.user_space, path)?;
    }
    for (path, target) in GUEST_LINKS {
        tree.link(path, target);
    }
    for path in daemons(&kernel.user_space)? {
        add_program(&mut tree, &kernel.user_space, &path)?;
    }
    tree.pack()
}

/// An initial file system whose init prints [`MARKER`](linux_guest_tests::boot_cost::MARKER) and sleeps.
///
/// # Errors
/// Busybox is missing.
pub(crate) fn first_line(kernel: &Kernel) -> Result<Vec<u8>, Error> {
    let mut tree = Tree::default();
    busybox(&mut tree, &kernel.user_space)?;
    tree.file("init", FIRST_LINE_INIT);
    tree.pack()
}

/// The initial file system of the machine in which guests run nested.
///
/// # Errors
/// Something is missing.
pub(crate) fn outer(kernel: &Kernel) -> Result<Vec<u8>, Error> {
    let mut tree = Tree::default();
    busybox(&mut tree, &kernel.user_space)?;
    tree.file("init", include_str!("outer_init.sh"));
    let modules = Modules::open(&kernel.modules)?;
    load(&mut tree, &modules, &OUTER_DRIVERS, "modules/order")?;
    load(&mut tree, &modules, &OUTER_LATE_DRIVERS, "modules/late")?;
    tree.pack()
}

fn busybox(tree: &mut Tree, user_space: &Path) -> Result<(), Error> {
    for folder in ["dev", "proc", "sys", "tmp"] {
        tree.folder(folder);
    }
    add_program(tree, user_space, "bin/busybox")?;
    tree.link("bin/sh", "busybox");
    Ok(())
}

/// Adds modules, with a list of them in the order of loading. Those that are there already are not listed again.
fn load(tree: &mut Tree, modules: &Modules, names: &[&str], list: &str) -> Result<(), Error> {
    let mut order = String::new();
    for module in modules.in_load_order(names)? {
        let path = format!("modules/{}.ko", module.name);
        if !tree.contains(&path) {
            order += &format!("{}\n", module.name);
            tree.file(&path, module.contents);
        }
    }
    tree.file(list, order);
    Ok(())
}

/// The paths of the daemons and their helpers, below the user space.
fn daemons(user_space: &Path) -> Result<Vec<String>, Error> {
    let mut paths = Vec::new();
    for (folder, prefix) in [("usr/sbin", "hv_"), ("usr/libexec/hypervkvpd", "")] {
        let Ok(entries) = std::fs::read_dir(user_space.join(folder)) else {
            continue;
        };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                paths.push(format!("{folder}/{name}"));
            }
        }
    }
    if paths.is_empty() {
        return Err(Error::new("hyperv-daemons has no programs"));
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Adds a file at its path with the loader and the libraries that it needs, at theirs.
pub(super) fn add_program(tree: &mut Tree, user_space: &Path, path: &str) -> Result<(), Error> {
    let mut wanted = vec![path.to_owned()];
    while let Some(path) = wanted.pop() {
        if tree.contains(&path) {
            continue;
        }
        let contents = std::fs::read(inside(user_space, &path)?)?;
        let needs =
            elf::needs(&contents).map_err(|error| Error::new(format!("{path}: {error}")))?;
        wanted.extend(needs.interpreter);
        for library in needs.libraries {
            wanted.push(find_library(user_space, &library)?);
        }
        tree.file(&path, contents);
    }
    Ok(())
}

/// The place of a file of user space, behind links that mean the root of the guest.
pub(super) fn inside(user_space: &Path, path: &str) -> Result<PathBuf, Error> {
    let mut place = user_space.join(path.trim_start_matches('/'));
    // A link to a link to a file: more than a few are a circle.
    for _ in 0..8 {
        match std::fs::read_link(&place) {
            Ok(target) => {
                place = match target.strip_prefix("/") {
                    Ok(target) => user_space.join(target),
                    Err(_) => place.with_file_name(target),
                };
            }
            Err(_) if place.is_file() => return Ok(place),
            Err(_) => break,
        }
    }
    Err(Error::new(format!("the packages have no {path}")))
}

/// The path of a library below the user space.
fn find_library(user_space: &Path, name: &str) -> Result<String, Error> {
    for parent in ["lib", "usr/lib"] {
        let Ok(folders) = std::fs::read_dir(user_space.join(parent)) else {
            continue;
        };
        for folder in folders.flatten() {
            let folder = folder.file_name().to_string_lossy().into_owned();
            let path = format!("{parent}/{folder}/{name}");
            if folder.ends_with("-linux-gnu") && inside(user_space, &path).is_ok() {
                return Ok(path);
            }
        }
    }
    Err(Error::new(format!("the packages have no library {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_comes_with_what_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("bin")).unwrap();
        std::fs::create_dir_all(at("lib/x86_64-linux-gnu")).unwrap();
        std::fs::create_dir_all(at("lib64")).unwrap();
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        std::fs::write(at("bin/program"), &program).unwrap();
        let needs = elf::needs(&program).unwrap();
        let loader = needs.interpreter.unwrap();
        let mut tree = Tree::default();
        assert!(add_program(&mut tree, folder.path(), "bin/program").is_err());
        for library in &needs.libraries {
            std::fs::write(at("lib/x86_64-linux-gnu").join(library), "a library").unwrap();
        }
        // The loader is a link that means the root of the guest.
        std::fs::write(at("lib/x86_64-linux-gnu/loader"), "the loader").unwrap();
        let loader_at = at(loader.trim_start_matches('/'));
        std::fs::create_dir_all(loader_at.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&loader_at);
        std::os::unix::fs::symlink("/lib/x86_64-linux-gnu/loader", &loader_at).unwrap();
        add_program(&mut tree, folder.path(), "bin/program").unwrap();
        assert!(tree.contains(&loader));
        for library in &needs.libraries {
            assert!(tree.contains(&format!("lib/x86_64-linux-gnu/{library}")));
        }
    }

    #[test]
    fn init_prints_the_line_that_is_waited_for() {
        let line = format!("echo \"{}\"\n", linux_guest_tests::boot_cost::MARKER);
        assert!(FIRST_LINE_INIT.contains(&line));
    }

    #[test]
    fn circles_of_links_end() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("b")).unwrap();
        assert!(inside(folder.path(), "a").is_err());
    }
}
