//! The standard library's source from Debian's archive, without installing anything and without being root.

use std::path::{Path, PathBuf};

use super::archive::{self, Archive, Index, Package};
use crate::run::{Error, say};

/// Suites that may carry the compiler's version, the likeliest first.
const SUITES: [&str; 4] = ["trixie-backports", "trixie", "forky", "sid"];

/// Fetches and unpacks the source of a compiler's version. Returns the `library` folder, in the cache.
pub(super) fn rust_source(version: &str) -> Result<PathBuf, Error> {
    let library = archive::cache_dir()?.join(format!("rust-library-{version}"));
    if library.is_dir() {
        say(&format!("the source is in {}", library.display()));
        return Ok(library);
    }
    let unpacked = fetch(version)?;
    let found =
        find_library(&unpacked).ok_or_else(|| Error::new("the package holds no library folder"))?;
    match std::fs::rename(found, &library) {
        // Another set-up was faster.
        Err(_) if library.is_dir() => {}
        renamed => renamed?,
    }
    let _ = std::fs::remove_dir_all(&unpacked);
    Ok(library)
}

fn fetch(version: &str) -> Result<PathBuf, Error> {
    let archive = Archive::open()?;
    let mut looked = Vec::new();
    for suite in SUITES {
        say(&format!(
            "looking for rust-src {version} in Debian's suite {suite}"
        ));
        let index = archive.index(suite, "amd64");
        match index.map(|index| find_package(&index, version)) {
            Ok(Some(package)) => return archive.unpacked("rust-src", &[package]),
            Ok(None) => looked.push(format!("{suite} has another version")),
            Err(error) => looked.push(format!("{suite}: {error}")),
        }
    }
    Err(Error::new(format!(
        "no suite gives rust-src {version}: {}",
        looked.join("; ")
    )))
}

/// The source package of a compiler's version: Debian appends its own revision, as in `1.95.0+dfsg1-2`.
fn find_package(index: &Index, compiler: &str) -> Option<Package> {
    let mut packages = index.packages("rust-src");
    packages.find(|package| {
        let revision = package.version.strip_prefix(compiler);
        revision.is_some_and(|revision| revision.starts_with(['+', '-', '~']))
    })
}

/// The `library` folder inside an unpacked package: `usr/src/rustc-VERSION/library`.
fn find_library(unpacked: &Path) -> Option<PathBuf> {
    let sources = std::fs::read_dir(unpacked.join("usr/src")).ok()?;
    let mut libraries = sources.flatten().map(|entry| entry.path().join("library"));
    libraries.find(|library| library.join("core/src/lib.rs").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_of_exactly_this_version_is_found() {
        let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let entry = |package: &str, version: &str| {
            format!(
                "Package: {package}\nVersion: {version}\nFilename: pool/{version}.deb\nSHA256: {sum}"
            )
        };
        let index = [
            entry("rust-all", "1.95.0+dfsg1-1"),
            entry("rust-src", "1.94.1+dfsg1-1"),
            entry("rust-src", "1.95.01+dfsg1-1"),
            entry("rust-src", "1.95.0+dfsg1-2~bpo13+1"),
        ]
        .join("\n\n");
        let index = Index::new(index);
        let package = find_package(&index, "1.95.0").unwrap();
        assert_eq!(package.path, "pool/1.95.0+dfsg1-2~bpo13+1.deb");
        assert_eq!(find_package(&index, "1.96.0"), None);
        assert_eq!(find_package(&Index::new(String::new()), "1.95.0"), None);
    }
}
