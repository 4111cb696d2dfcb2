//! Stock kernels and user space from Debian's archive.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::run::Error;
use crate::toolchain::archive::{Archive, Index, Package, with_dependencies};

/// A kernel that scenarios can name.
pub(crate) struct Source {
    /// What scenarios call it.
    pub(crate) name: &'static str,
    /// The suite that has it.
    suite: &'static str,
    architecture: &'static str,
    /// The package that depends on the newest build: builds leave the archive after a while.
    newest: &'static str,
}

/// Where user space comes from, whatever the kernel.
const SUITE: &str = "bookworm";

/// All kernels.
pub(crate) const SOURCES: [Source; 5] = [
    Source {
        name: "6.1",
        suite: SUITE,
        architecture: "amd64",
        newest: "linux-image-cloud-amd64",
    },
    Source {
        name: "6.12",
        suite: "bookworm-backports",
        architecture: "amd64",
        newest: "linux-image-cloud-amd64",
    },
    Source {
        name: "6.1-generic",
        suite: SUITE,
        architecture: "amd64",
        newest: "linux-image-amd64",
    },
    Source {
        name: "6.12-generic",
        suite: "bookworm-backports",
        architecture: "amd64",
        newest: "linux-image-amd64",
    },
    Source {
        name: "6.1-i386",
        suite: SUITE,
        architecture: "i386",
        newest: "linux-image-686",
    },
];

/// Packages whose programs guests get.
const USER_SPACE: [&str; 4] = ["busybox-static", "e2fsprogs", "ethtool", "hyperv-daemons"];

/// A kernel's files, and the programs for it.
pub(crate) struct Kernel {
    /// What scenarios call it.
    pub(crate) name: String,
    /// Its own idea of its release.
    pub(crate) release: String,
    /// The boot image.
    pub(crate) image: PathBuf,
    /// The folder of its modules.
    pub(crate) modules: PathBuf,
    /// A folder as if the packages of user space were installed there.
    pub(crate) user_space: PathBuf,
}

/// The archive, with the indexes that were read so far.
pub(crate) struct Store {
    archive: Archive,
    indexes: HashMap<(&'static str, &'static str), Index>,
}

impl Store {
    /// Opens the archive.
    ///
    /// # Errors
    /// As for [`Archive::open`].
    pub(crate) fn open() -> Result<Self, Error> {
        Ok(Self {
            archive: Archive::open()?,
            indexes: HashMap::new(),
        })
    }

    fn read_index(&mut self, suite: &'static str, architecture: &'static str) -> Result<(), Error> {
        if !self.indexes.contains_key(&(suite, architecture)) {
            let index = self.archive.index(suite, architecture)?;
            self.indexes.insert((suite, architecture), index);
        }
        Ok(())
    }

    /// Fetches a kernel and its user space, or finds them in the cache.
    ///
    /// # Errors
    /// The archive cannot be reached, or does not have what is needed.
    pub(crate) fn kernel(&mut self, source: &Source) -> Result<Kernel, Error> {
        self.read_index(source.suite, source.architecture)?;
        self.read_index(SUITE, source.architecture)?;
        let own = &self.indexes[&(source.suite, source.architecture)];
        let base = &self.indexes[&(SUITE, source.architecture)];
        let package = newest(own, source.newest)?;
        let release = package.name.trim_start_matches("linux-image-").to_owned();
        let user_space = with_dependencies(&[own, base], &USER_SPACE, is_library)?;
        let folder = self.archive.unpacked("kernel", &[package])?;
        let label = format!("user-space-{}", source.architecture);
        let user_space = self.archive.unpacked(&label, &user_space)?;
        let kernel = Kernel {
            name: source.name.to_owned(),
            image: folder.join(format!("boot/vmlinuz-{release}")),
            modules: folder.join("lib/modules").join(&release),
            release,
            user_space,
        };
        present(&kernel.image)?;
        present(&kernel.modules)?;
        Ok(kernel)
    }

    /// Fetches packages of the base suite and all that they need, or finds them in the cache.
    ///
    /// # Errors
    /// As for [`Store::kernel`].
    pub(crate) fn programs(&mut self, label: &str, packages: &[&str]) -> Result<PathBuf, Error> {
        self.read_index(SUITE, "amd64")?;
        let packages = with_dependencies(&[&self.indexes[&(SUITE, "amd64")]], packages, |_| true)?;
        self.archive.unpacked(label, &packages)
    }
}

/// The newest build, which the package without a version depends on.
fn newest(index: &Index, name: &str) -> Result<Package, Error> {
    let latest = index.package(name);
    let mut names = latest
        .iter()
        .flat_map(|package| package.depends.iter().flatten());
    let image = names.find(|name| name.starts_with("linux-image-"));
    image
        .and_then(|name| index.package(name))
        .ok_or_else(|| Error::new(format!("the archive has no kernel behind {name}")))
}

/// Whether a package holds libraries. The other needs of guests' programs are for scripts that nobody runs there.
fn is_library(name: &str) -> bool {
    name.starts_with("lib") && !name.contains("perl")
}

fn present(path: &Path) -> Result<(), Error> {
    if path.exists() {
        Ok(())
    } else {
        Err(Error::new(format!("the package has no {}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_build_is_the_one_that_is_depended_on() {
        let entry = |name: &str, depends: &str| {
            format!(
                "Package: {name}\nVersion: 1\nFilename: {name}.deb\nDepends: {depends}\nSHA256: {}",
                "ab".repeat(32)
            )
        };
        let index = Index::new(
            [
                entry("linux-image-6.1.0-9-amd64", "kmod"),
                entry("linux-image-6.1.0-10-amd64", "kmod"),
                entry("linux-image-amd64", "linux-image-6.1.0-10-amd64 (= 1)"),
                entry("linux-image-empty", "kmod"),
            ]
            .join("\n\n"),
        );
        let package = newest(&index, "linux-image-amd64").unwrap();
        assert_eq!(package.name, "linux-image-6.1.0-10-amd64");
        assert!(newest(&index, "linux-image-empty").is_err());
        assert!(newest(&index, "linux-image-absent").is_err());
    }

    #[test]
    fn scenarios_name_kernels_that_exist() {
        for scenario in linux_guest_tests::scenarios::ALL {
            for kernel in scenario.kernels {
                assert!(
                    SOURCES.iter().any(|source| source.name == *kernel),
                    "{} names {kernel}",
                    scenario.name
                );
            }
        }
    }
}
